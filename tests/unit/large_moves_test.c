/* large_moves_test.c: large objects that grow in place or move, and an OS that refuses at any step. */
#include "tests/unit/objects.h"

#include "allocator/heap/large.h"
#include "allocator/os/os.h"
#include "allocator/os/os_process.h"
#include "allocator/pages/release.h"

#include <string.h>
#include <sys/mman.h>

static void growing_at_the_end(void **state) {
    (void)state;
    object it, behind;
    size_t capacity;
    object_take(&it, HAK_MIB, 16);
    for (int i = 0; i < 8; i++) {
        size_t before = it.size;
        assert_true(hak_large_resize(it.at, 2 * before, &it.capacity));
        it.size = 2 * before;
        object_expect(&it, before);
        for (size_t at = before; at < it.size; at += 4096)
            assert_int_equal(it.at[at], 0); /* never used */
        object_paint(&it);
        hak_large_check();
    }
    (void)hak_os_fail_at(1 | HAK_OS_FAIL_ON);
    assert_false(hak_large_resize(it.at, it.size + 1024 * (size_t)HAK_MIB, &capacity));
    (void)hak_os_fail_at(0);
    hak_large_check();
    object_take(&behind, HAK_MIB, 16);
    assert_false(hak_large_resize(it.at, it.size + 2 * HAK_MIB, &capacity));
    object_give(&behind); /* free, but too short alone */
    assert_true(hak_large_resize(it.at, it.size + 8 * HAK_MIB, &it.capacity));
    hak_large_check();
    assert_int_equal(hak_release_large_live, it.capacity);
    unsigned char *at = it.at;
    object_give(&it);
    object_take(&it, it.size, 16);
    assert_ptr_equal(it.at, at); /* all of it is one free span now */
    object_give(&it);
}

/* Bytes that the process has mapped and the core does not count: its tables of tags, and what is not the core's. */
static size_t uncounted(void) {
    return unit_address_space() - hak_region_mapped;
}

/* The object moves to grow: its contents are there, and the old place is free and can be handed out again. */
static void moving(void **state) {
    (void)state;
    object it, behind, other;
    size_t capacity;
    object_take(&it, 3 * HAK_MIB, 16);
    object_take(&behind, HAK_MIB, 16);
    if (hak_region_find((uintptr_t)it.at)->body.reserved)
        skip(); /* beside a sanitizer: nothing moves inside a reservation */
    memset(it.at, 0x3c, it.size);
    size_t live = hak_release_large_live, before = uncounted();
    unsigned char *to = hak_large_move(it.at, 8 * HAK_MIB, &capacity);
    assert_non_null(to);
    assert_true(uncounted() - before + HAK_MIB < 2 * HAK_MIB);
    hak_large_check();
    assert_true(to != it.at && capacity == 8 * HAK_MIB);
    assert_int_equal(hak_release_large_live, live + 5 * HAK_MIB);
    for (size_t i = 0; i < it.size; i++)
        assert_int_equal(to[i], 0x3c);
    for (size_t i = it.size; i < capacity; i += 4096)
        to[i] = 1;
    assert_int_equal(hak_large_capacity(it.at), 0);
    assert_false(hak_large_give(it.at));
    object_take(&other, 3 * HAK_MIB, 16);
    object_give(&other);
    assert_true(hak_large_give(to));
    assert_false(hak_os_is_mapped((uintptr_t)to, hak_os_page)); /* it was a mapping of its own */
    hak_large_check();
    object_give(&behind);
}

/* Whichever call the OS refuses, the object is unchanged. */
static void moving_refused(void **state) {
    (void)state;
    for (uint64_t k = 1;; k++) {
        object it;
        size_t capacity;
        hak_test_reset(HAK_RESET_FRESH);
        object_take(&it, 3 * HAK_MIB, 16);
        if (hak_region_find((uintptr_t)it.at)->body.reserved)
            skip(); /* as above */
        memset(it.at, 0x3c, it.size);
        (void)hak_os_fail_at(k);
        unsigned char *to = hak_large_move(it.at, 8 * HAK_MIB, &capacity);
        uint64_t seen = hak_os_fail_at(0);
        hak_large_check();
        unsigned char *now = to != NULL ? to : it.at;
        for (size_t i = 0; i < it.size; i++)
            assert_int_equal(now[i], 0x3c);
        memset(now, 1, it.size);
        assert_true(hak_large_give(now));
        assert_int_equal(hak_release_large_live, 0);
        if (seen < k) {
            assert_non_null(to);
            break;
        }
        assert_null(to);
    }
}

/* An object across two mappings, and one that is too small to pay: the caller copies. */
static void moving_does_not_pay(void **state) {
    (void)state;
    object it;
    size_t capacity;
    object_take(&it, 512 * HAK_KIB, 16);
    assert_null(hak_large_move(it.at, 8 * HAK_MIB, &capacity));
    object_give(&it);
    object_take(&it, 4 * HAK_MIB, 16);
    memset(it.at, 0x3c, it.size);
    assert_null(hak_large_move(it.at, 2 * HAK_MIB, &capacity));
    assert_int_equal(mprotect(it.at + 2 * HAK_MIB, HAK_MIB, PROT_READ), 0); /* three mappings */
    assert_null(hak_large_move(it.at, 8 * HAK_MIB, &capacity));
    hak_large_check();
    for (size_t i = 0; i < it.size; i++)
        assert_int_equal(it.at[i], 0x3c);
    assert_int_equal(mprotect(it.at + 2 * HAK_MIB, HAK_MIB, PROT_READ | PROT_WRITE), 0);
    object_paint(&it);
    object_give(&it);
}

/* Each is a mapping of its own, of which the process needs others: no more than 4,096 live objects were moved. */
static void few_are_moved(void **state) {
    (void)state;
    enum { COUNT = 4300, MOST = 4096 };
    static void *objs[COUNT];
    size_t capacity, moved = 0;
    for (int i = 0; i < COUNT; i++) {
        void *obj = hak_large_take(HAK_MIB, 16, NULL, &capacity);
        assert_non_null(obj);
        if (i == 0 && hak_region_find((uintptr_t)obj)->body.reserved) {
            assert_true(hak_large_give(obj));
            skip();
        }
        objs[i] = hak_large_move(obj, HAK_MIB + HAK_GRANULE, &capacity);
        moved += objs[i] != NULL;
        objs[i] = objs[i] != NULL ? objs[i] : obj;
    }
    assert_in_range(moved, MOST / 4, MOST); /* some find no place where gaps are drawn */
    for (int i = 0; i < COUNT; i++)
        assert_true(hak_large_give(objs[i]));
    hak_large_check();
}

/* Free spans are no longer mapped, live objects are unchanged, and all memory can be handed out again, zeroed. */
static void hollowed(void **state) {
    (void)state;
    object objects[8];
    for (int i = 0; i < 8; i++)
        object_take(&objects[i], HAK_MIB, 16);
    for (int i = 0; i < 8; i += 2)
        object_give(&objects[i]);
    size_t committed = hak_region_committed;
    size_t bytes = hak_large_hollow();
    assert_true(bytes >= 4 * HAK_MIB && hak_region_committed == committed - bytes);
    hak_large_check();
    assert_int_equal(hak_large_hollow(), 0);
    for (int i = 1; i < 8; i += 2)
        object_expect(&objects[i], objects[i].size);
    for (int i = 0; i < 8; i += 2) {
        object_take(&objects[i], HAK_MIB / 2, 16);
        hak_large_check();
    }
    for (int i = 0; i < 8; i++)
        object_give(&objects[i]);
    hak_large_check();
}

static void refusals(void **state) {
    (void)state;
    for (uint64_t k = 1;; k++) {
        hak_test_reset(HAK_RESET_FRESH);
        hak_release_init(true, HAK_DECOMMIT_DONTNEED, HAK_MIB);
        object objects[3] = {0};
        (void)hak_os_fail_at(k);
        for (int i = 0; i < 3; i++) {
            bool zeroed;
            objects[i].size = (size_t)(i + 1) * 12 * HAK_MIB;
            objects[i].at = hak_large_take(objects[i].size, 16, &zeroed, &objects[i].capacity);
        }
        for (int i = 0; i < 3; i++)
            if (objects[i].at != NULL) {
                object_paint(&objects[i]);
                object_give(&objects[i]);
            }
        bool over = hak_os_fail_at(0) < k;
        hak_large_check();
        assert_int_equal(hak_release_large_live, 0);
        object_take(&objects[0], HAK_MIB, 16);
        object_give(&objects[0]);
        if (over)
            break;
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE("an object at the end of its region grows in place", growing_at_the_end),
        CASE("an object's pages are moved to where it can grow", moving),
        CASE("a move that the OS refuses at any step changes nothing", moving_refused),
        CASE("what cannot be moved, or is too small for it, stays", moving_does_not_pay),
        CASE("no more than 4,096 live objects were moved", few_are_moved),
        CASE("free spans lose their memory, and get it again", hollowed),
        CASE("a refusal of the OS at any step leaves everything consistent", refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
