/* keep_test.c: how many freed large objects are kept, and which leave first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "allocator/heap/large.h"
#include "allocator/os/os.h"
#include "allocator/os/os_process.h"
#include "allocator/pages/mapped_limit.h"
#include "allocator/pages/release.h"
#include "allocator/policy.h"
#include "hardening/guard.h"
#include "hardening/keep.h"
#include "hardening/verify_large.h"
#include "include/hakmem.h"

enum { MOST = 800 };

static char *objs[MOST];

/* A guarded object of 16 MiB and more is unmapped. */
static void keep(unsigned i, size_t size, bool guarded) {
    size_t capacity;
    objs[i] = hak_large_take(size, HAK_MIN_ALIGN, NULL, &capacity);
    assert_non_null(objs[i]);
    if (guarded && size >= 16 * HAK_MIB)
        assert_true(hak_large_empty(objs[i]));
    assert_true(hak_keep_take(objs[i], capacity, guarded));
}

/* Of `count` objects of `size` bytes the last `kept` are still kept, after each new one. */
static void expect_kept(unsigned count, size_t size, bool guarded, unsigned kept) {
    for (unsigned i = 0; i < count; i++) {
        keep(i, size, guarded);
        assert_int_not_equal(hak_large_capacity(objs[i]), 0);
        assert_int_equal(atomic_load(&hak_large_count), i < kept ? i + 1 : kept);
    }
    for (unsigned i = 0; i < kept; i++)
        assert_int_not_equal(hak_large_capacity(objs[count - 1 - i]), 0);
}

/* Before each: nothing is kept, no object is live. */
static int none(void **state) {
    (void)state;
    hak_free(hak_malloc(1));
    hak_keep_reset();
    atomic_store(&hak_large_count, 0);
    return 0;
}

static void by_number(void **state) {
    (void)state;
    expect_kept(MOST, 300 * HAK_KIB, true, 640);
}
static void by_mapped_bytes(void **state) {
    (void)state;
    expect_kept(200, 8 * HAK_MIB, true, 128);
}

/* Unmapped memory takes no address space of the kernel's. It drives other objects out only by its number, and by
 * those pages of our tables that stay resident for very many addresses. */
static void very_large_drain_little(void **state) {
    (void)state;
    expect_kept(100, 160 * HAK_MIB, true, 100);
}
static void by_unmapped_bytes(void **state) {
    (void)state;
    expect_kept(20, 2048 * (size_t)HAK_MIB, true, 8);
}
static void two_of_any_size(void **state) {
    (void)state;
    expect_kept(5, 17 * (size_t)HAK_MIB * 1024, true, 2);
}

/* Memory beyond the resident limit is kept without its pages, and the objects before it stay. */
static void resident_bytes_drain_nothing(void **state) {
    (void)state;
    for (unsigned i = 0; i < 100; i++) {
        keep(i, 4 * HAK_MIB, false);
        objs[i][0] = i < 16 ? 'x' : 0;
        assert_in_range(atomic_load(&hak_keep_resident), 1, 64 * HAK_MIB);
    }
    for (unsigned i = 0; i < 100; i++)
        assert_int_not_equal(hak_large_capacity(objs[i]), 0);
    for (unsigned i = 0; i < 16; i++)
        assert_int_equal(objs[i][0], 'x');
}

/* With FREE or DONTNEED it is 8 MiB. */
static void few_resident_bytes_when_lean(void **state) {
    (void)state;
    hak_release_init(true, HAK_DECOMMIT_DONTNEED, 10 * HAK_MIB);
    for (unsigned i = 0; i < 20; i++) {
        keep(i, HAK_MIB, false);
        assert_in_range(atomic_load(&hak_keep_resident), HAK_MIB, 8 * HAK_MIB);
    }
    hak_release_init(true, HAK_DECOMMIT_OFF, 10 * HAK_MIB);
    assert_int_equal(atomic_load(&hak_keep_resident), 8 * HAK_MIB);
}

static void memory_goes_beyond_that(void **state) {
    (void)state;
    size_t capacity;
    char *obj = hak_large_take(65 * HAK_MIB, HAK_MIN_ALIGN, NULL, &capacity);
    obj[5000] = 'x';
    assert_true(hak_keep_take(obj, capacity, false));
    assert_int_equal(obj[5000], 0);
    assert_int_equal(atomic_load(&hak_keep_resident), 0);
}

static void too_large(void **state) {
    (void)state;
    size_t capacity;
    void *obj = hak_large_take(600 * HAK_MIB, HAK_MIN_ALIGN, NULL, &capacity);
    assert_false(hak_keep_take(obj, capacity, false));
    assert_true(hak_large_empty(obj));
    assert_true(hak_keep_take(obj, capacity, true));
}

/* A kept object has its pages until a second pass meets it, or until a trim. */
static void pages_go(void **state) {
    (void)state;
    for (int how = 0; how < 2; how++) {
        keep(0, 4 * HAK_MIB, false);
        keep(1, 4 * HAK_MIB, true);
        assert_int_equal(atomic_load(&hak_keep_resident), 4 * HAK_MIB);
        memset(objs[0], 1, 4 * HAK_MIB);
        if (how == 0)
            hak_keep_trim();
        else {
            hak_policy_idle(hak_os_milliseconds());
            assert_int_equal(atomic_load(&hak_keep_resident), 4 * HAK_MIB);
            assert_int_equal(objs[0][HAK_MIB], 1);
            hak_policy_idle(hak_os_milliseconds());
        }
        assert_int_equal(atomic_load(&hak_keep_resident), 0);
        assert_int_equal(objs[0][HAK_MIB], 0);
        hak_keep_flush();
        assert_int_equal(atomic_load(&hak_keep_resident), 0);
        assert_int_equal(atomic_load(&hak_keep_bytes), 0);
        assert_int_equal(atomic_load(&hak_keep_objects), 0);
    }
}

/* A guard goes with its memory at the second pass: markers take page tables, which each fork copies. */
static void guards_go(void **state) {
    (void)state;
    for (unsigned i = 0; i < 3; i++)
        keep(i, 300 * HAK_KIB, i != 2);
    size_t holes = hak_span_holes; /* an object may have taken one */
    hak_policy_idle(hak_os_milliseconds());
    for (unsigned i = 0; i < 3; i++)
        assert_false(hak_large_is_empty(objs[i]));
    hak_policy_idle(hak_os_milliseconds());
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(hak_large_is_empty(objs[i]), i != 2);
    assert_int_equal(hak_keep_bytes, hak_large_capacity(objs[2])); /* what is unmapped is no live memory */
    assert_int_equal(hak_span_holes, holes + 2);
    hak_large_check();
    hak_keep_flush();
    hak_large_check();
}

/* Freed objects of 1 MiB and more, while there are few gaps. */
static void unmapped_while_few(void **state) {
    (void)state;
    assert_true(hak_guard_unmaps(HAK_MIB));
    assert_false(hak_guard_unmaps(HAK_MIB - 1));
    size_t holes = hak_span_holes;
    hak_span_holes = hak_os_maps_allowed() / 20;
    assert_false(hak_guard_unmaps(HAK_MIB));
    assert_false(hak_guard_unmaps(16 * HAK_MIB - 1));
    assert_true(hak_guard_unmaps(16 * HAK_MIB));
    hak_span_holes = holes;
    char *large = hak_malloc(HAK_MIB), *less = hak_malloc(300 * HAK_KIB);
    while (!hak_guard_at_leisure())
        hak_os_sleep(1);
    hak_os_sleep(2);
    hak_free(large);
    hak_free(less);
    assert_true(hak_large_is_empty(large));
    assert_false(hak_large_is_empty(less));
    hak_large_check();
}

/* Objects that are too short alone, in one row. */
static void unmapped_when_purged(void **state) {
    (void)state;
    for (unsigned i = 0; i < 30; i++)
        keep(i, 900 * HAK_KIB, true);
    hak_keep_flush();
    size_t committed = hak_region_committed;
    (void)hak_large_purge(0);
    assert_true(hak_region_committed + 20 * HAK_MIB < committed);
    hak_large_check();
}

/* All are kept, but address space that other code could have is not. */
static void little_where_scarce(void **state) {
    (void)state;
    hak_guard_scarce();
    for (unsigned i = 0; i < 20; i++) {
        keep(i, 3 * HAK_MIB, false);
        assert_in_range(hak_keep_bytes, 3 * HAK_MIB, 16 * HAK_MIB);
    }
    for (unsigned i = 0; i < 20; i++)
        assert_int_not_equal(hak_large_capacity(objs[i]), 0);
    hak_large_check();
    hak_keep_flush();
    hak_guard_reset();
}

/* A sixteenth of a limit that counts what is mapped, if that is less. */
static void little_within_a_limit(void **state) {
    (void)state;
    hak_guard_scarce();
    (void)hak_limit_set(128 * HAK_MIB);
    for (unsigned i = 0; i < 20; i++) {
        keep(i, HAK_MIB, true);
        assert_in_range(hak_keep_bytes, HAK_MIB, 8 * HAK_MIB);
    }
    assert_true(hak_keep_bytes > 4 * HAK_MIB);
    hak_keep_flush();
    (void)hak_limit_set(SIZE_MAX);
    hak_guard_reset();
}

static void all_go_back(void **state) {
    (void)state;
    for (unsigned i = 0; i < 10; i++)
        keep(i, HAK_MIB, i % 2 == 0);
    assert_int_equal(atomic_load(&hak_large_count), 10);
    hak_keep_flush();
    assert_int_equal(atomic_load(&hak_large_count), 0);
    assert_int_equal(atomic_load(&hak_keep_objects), 0);
}

/* Uses up the time for guards: in the next millisecond there is some again. */
static void hurry(void) {
    while (hak_guard_at_leisure())
        hak_free(hak_malloc(300 * HAK_KIB));
}

static const hak_large_record *record_of(const void *obj) {
    return hak_ledger_large((uintptr_t)obj);
}

/* An object of `size` bytes in the place of one of 1 MiB, whose guard stayed where it was. */
static char *reused(size_t size) {
    for (int tries = 0; tries < 1000; tries++) {
        hak_keep_flush(); /* else an older object would go first */
        void *place = hak_malloc(HAK_MIB), *others[8];
        for (int i = 0; i < 8; i++)
            others[i] = hak_malloc(300 * HAK_KIB);
        hurry();
        hak_free(place);
        for (int i = 0; i < 8; i++)
            hak_free(others[i]);
        char *obj = hak_malloc(size);
        if (obj == place && record_of(obj)->slack != 0)
            return obj;
        hak_free(obj);
    }
    fail_msg("never, in 1,000 tries");
    return NULL;
}

/* The former objects' contents are not zero. */
static void zeroed_in_a_hurry(void **state) {
    (void)state;
    for (int tries = 0, seen = 0; seen < 3; tries++) {
        assert_true(tries < 1000);
        char *place = hak_malloc(HAK_MIB), *others[8];
        memset(place, 'x', HAK_MIB);
        for (int i = 0; i < 8; i++)
            others[i] = memset(hak_malloc(300 * HAK_KIB), 'x', 300 * HAK_KIB);
        hurry();
        hak_free(place);
        for (int i = 0; i < 8; i++)
            hak_free(others[i]);
        char *obj = hak_calloc(1, HAK_MIB - 100 * HAK_KIB);
        seen += record_of(obj)->slack != 0; /* a kept object */
        for (size_t i = 0; i < HAK_MIB - 100 * HAK_KIB; i++)
            if (obj[i] != 0)
                fail_msg("byte %zu is %d", i, obj[i]);
        hak_free(memset(obj, 'x', HAK_MIB - 100 * HAK_KIB));
    }
}

/* Also when time is short: the four objects that were freed last get no new owner. */
static void newest_rest(void **state) {
    (void)state;
    enum { NEWEST = 4 };
    for (int tries = 0; tries < 300; tries++) {
        void *objs[NEWEST];
        for (int i = 0; i < NEWEST; i++)
            objs[i] = hak_malloc(700 * HAK_KIB);
        hurry();
        hak_keep_flush();
        for (int i = 0; i < NEWEST; i++)
            hak_free(objs[i]);
        void *next = hak_malloc(700 * HAK_KIB);
        for (int i = 0; i < NEWEST; i++)
            assert_ptr_not_equal(next, objs[i]);
        hak_free(next);
    }
}

/* Each bit of the canary and each byte from there to the end of the page. */
static void every_byte_behind(void **state) {
    (void)state;
    for (size_t past = 1; past < 4096; past += 819) {
        size_t size = 75 * 4096 - past;
        unsigned char *obj = hak_malloc(size);
        for (size_t at = size; at < 75 * 4096; at++)
            for (int bit = 0; bit < 8; bit++) {
                obj[at] ^= (unsigned char)(1 << bit);
                assert_ptr_equal(hak_verify_large_overflow(obj, record_of(obj)), obj + at);
                obj[at] ^= (unsigned char)(1 << bit);
            }
        assert_null(hak_verify_large_overflow(obj, record_of(obj)));
        hak_free(obj);
    }
}

static void in_a_hurry(void **state) {
    (void)state;
    const size_t size = HAK_MIB - 100 * HAK_KIB;
    char *obj = reused(size);
    assert_int_equal(hak_large_capacity(obj), size);
    assert_int_equal(record_of(obj)->slack * hak_os_page, 100 * HAK_KIB);
    assert_int_equal(record_of(obj)->size, size);
    hak_large_check();
    memset(obj, 1, size);
    assert_null(hak_verify_large_overflow(obj, record_of(obj)));
    obj[size] ^= 1;
    assert_ptr_equal(hak_verify_large_overflow(obj, record_of(obj)), obj + size);
    obj[size] ^= 1;
    hak_free(obj);
}

static void not_too_far(void **state) {
    (void)state;
    assert_true(hak_guard_near(HAK_MIB, HAK_MIB));
    assert_true(hak_guard_near(HAK_MIB, HAK_MIB + HAK_MIB / 4));
    assert_false(hak_guard_near(HAK_MIB, HAK_MIB + HAK_MIB / 4 + 1));
    assert_false(hak_guard_near(HAK_MIB, HAK_MIB - 1));
}

static void aligned(void **state) {
    (void)state;
    for (int tries = 0; tries < 100; tries++) {
        hurry();
        void *objs[8];
        for (int i = 0; i < 8; i++)
            objs[i] = hak_malloc(HAK_MIB);
        for (int i = 0; i < 8; i++)
            hak_free(objs[i]);
        void *obj = hak_aligned_alloc(HAK_MIB, HAK_MIB);
        assert_int_equal((uintptr_t)obj % HAK_MIB, 0);
        hak_free(obj);
    }
}

/* When there is time again, the guard returns to the object's end as the object is resized in place. */
static void at_leisure(void **state) {
    (void)state;
    char *obj = reused(HAK_MIB - 100 * HAK_KIB);
    while (!hak_guard_at_leisure())
        hak_os_sleep(1);
    assert_ptr_equal(hak_realloc(obj, HAK_MIB - 200 * HAK_KIB), obj);
    assert_int_equal(record_of(obj)->slack, 0);
    hak_free(obj);
}

#define CASE(text, function) {text, function, none, NULL, NULL}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE("640 objects are kept, the oldest leaves first", by_number),
        CASE("1 GiB of addresses is kept", by_mapped_bytes),
        CASE("very large objects drive little out", very_large_drain_little),
        CASE("16 GiB of unmapped addresses are kept", by_unmapped_bytes),
        CASE("and two objects of any size", two_of_any_size),
        CASE("64 MiB may be resident of objects that no guard could take, which drive nothing out",
             resident_bytes_drain_nothing),
        CASE("8 MiB with a lean policy", few_resident_bytes_when_lean),
        CASE("what is kept beyond that has no memory", memory_goes_beyond_that),
        CASE("an object of more than 512 MiB is kept only if it is guarded", too_large),
        CASE("its pages stay until the second pass, or a trim", pages_go),
        CASE("a guarded object is unmapped at the second pass", guards_go),
        CASE("from 1 MiB on at once, while there are few gaps", unmapped_while_few),
        CASE("and shorter ones that merge, when they are purged", unmapped_when_purged),
        CASE("where address space is scarce only 16 MiB of it are kept", little_where_scarce),
        CASE("under a limit a sixteenth of that", little_within_a_limit),
        CASE("when memory has run out all of it goes back", all_go_back),
        CASE("without time for guards an object goes on with the guard behind it, and its canary has room",
             in_a_hurry),
        CASE("and calloc of one is zero", zeroed_in_a_hurry),
        CASE("but not the newest four", newest_rest),
        CASE("every bit behind a large object counts, to the end of its page", every_byte_behind),
        CASE("a guard is near that is no more than a quarter of the object away", not_too_far),
        CASE("an object goes on only for an alignment that it has", aligned),
        CASE("with time again the guard moves to the end of an object that is resized", at_leisure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
