/* large_test.c: large objects: spans that are cut, merged, resized, purged; the walker runs after every step. */
#include "tests/unit/unit.h"

#include "allocator/heap/large.h"
#include "allocator/os/os.h"
#include "allocator/os/os_process.h"
#include "allocator/pages/release.h"
#include "allocator/pages/tag.h"

#include <string.h>
#include <sys/mman.h>

enum { OBJECTS = 40, STEPS = 1000 };

static uint64_t seed;
static uint64_t draw(uint64_t below) {
    return unit_random(&seed) % below;
}

typedef struct object {
    unsigned char *at;
    size_t size, capacity;
    unsigned char mark;
} object;

static void paint(object *it) {
    it->mark = (unsigned char)draw(256);
    for (size_t i = 0; i < it->size; i += 4096)
        it->at[i] = it->mark;
    it->at[it->size - 1] = it->mark;
}

static void expect_paint(const object *it, size_t size) {
    for (size_t i = 0; i < size; i += 4096)
        assert_int_equal(it->at[i], it->mark);
}

static void take(object *it, size_t size, size_t align) {
    bool zeroed;
    it->at = hak_large_take(size, align, &zeroed, &it->capacity);
    assert_non_null(it->at);
    it->size = size;
    assert_int_equal((uintptr_t)it->at % align, 0);
    assert_true(it->capacity >= size && it->capacity < size + hak_os_page);
    assert_int_equal(hak_large_capacity(it->at), it->capacity);
    for (size_t i = 0; zeroed && i < size; i += 4096)
        assert_int_equal(it->at[i], 0);
    paint(it);
}

static void give(object *it) {
    expect_paint(it, it->size);
    assert_true(hak_large_give(it->at));
    assert_int_equal(hak_large_capacity(it->at), 0);
    it->at = NULL;
}

static void resize(object *it, size_t size) {
    size_t capacity;
    if (!hak_large_resize(it->at, size, &capacity)) {
        assert_int_equal(hak_large_capacity(it->at), it->capacity);
        return;
    }
    assert_true(capacity >= size && capacity == hak_large_capacity(it->at));
    expect_paint(it, size < it->size ? size : it->size);
    it->size = size;
    it->capacity = capacity;
    paint(it);
}

static size_t draw_size(void) {
    return 256 * HAK_KIB + 1 + draw((uint64_t)1 << (12 + draw(10)));
}

static void step(object *it) {
    if (it->at == NULL)
        take(it, draw_size(), draw(4) != 0 ? 16 : (size_t)16 << draw(18));
    else if (draw(3) == 0)
        resize(it, draw_size());
    else
        give(it);
    hak_large_check();
}

static void walk_with(bool lean, hak_decommit decommit, size_t target) {
    static object objects[OBJECTS];
    memset(objects, 0, sizeof objects);
    seed = 11;
    hak_release_init(lean, decommit, target);
    size_t live = 0;
    for (int i = 0; i < STEPS; i++) {
        step(&objects[draw(OBJECTS)]);
        if (i % 97 == 0)
            (void)hak_large_purge(draw(2) * 8 * HAK_MIB);
    }
    for (int i = 0; i < OBJECTS; i++)
        live += objects[i].at != NULL ? objects[i].capacity : 0;
    assert_int_equal(hak_release_large_live, live);
    for (int i = 0; i < OBJECTS; i++)
        if (objects[i].at != NULL)
            give(&objects[i]);
    hak_large_check();
    assert_int_equal(hak_release_large_live, 0);
    assert_int_equal(hak_large_count, 0);
    (void)hak_large_purge(0);
    hak_large_check();
    assert_int_equal(hak_release_large_dirty, 0);
}

static void random_walk(void **state) {
    (void)state;
    walk_with(true, HAK_DECOMMIT_OFF, 0);
}
static void random_walk_lazy(void **state) {
    (void)state;
    walk_with(true, HAK_DECOMMIT_FREE, HAK_MIB);
}
static void random_walk_now(void **state) {
    (void)state;
    walk_with(true, HAK_DECOMMIT_DONTNEED, HAK_MIB);
}

static void merging(void **state) {
    (void)state;
    object a, b, c;
    for (int order = 0; order < 6; order++) { /* whichever goes last, one free span is left */
        take(&a, HAK_MIB, 16);
        take(&b, HAK_MIB, 16);
        take(&c, HAK_MIB, 16);
        object *const orders[6][3] = {{&a, &b, &c}, {&a, &c, &b}, {&b, &a, &c},
                                      {&b, &c, &a}, {&c, &a, &b}, {&c, &b, &a}};
        uintptr_t lowest = (uintptr_t)a.at;
        for (int i = 0; i < 3; i++) {
            give(orders[order][i]);
            hak_large_check();
        }
        object whole;
        take(&whole, 3 * HAK_MIB, 16);
        assert_int_equal((uintptr_t)whole.at, lowest);
        give(&whole);
    }
}

static void not_live(void **state) {
    (void)state;
    object it;
    take(&it, HAK_MIB, 16);
    unsigned char *at = it.at;
    static int in_data;
    void *const wrong[] = {at + 1,    at + 16,   at + HAK_GRANULE, at - HAK_GRANULE,
                           at + 4096, at - 4096, &in_data,         (void *)8};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        size_t capacity;
        assert_int_equal(hak_large_capacity(wrong[i]), 0);
        assert_false(hak_large_give(wrong[i]));
        assert_false(hak_large_resize(wrong[i], HAK_MIB, &capacity));
    }
    give(&it);
    assert_false(hak_large_give(at)); /* a double free is for the caller to name */
    hak_large_check();
}

static void impossible(void **state) {
    (void)state;
    static const struct {
        size_t size, align;
    } rows[] = {{SIZE_MAX, 16},
                {SIZE_MAX - HAK_GRANULE, 16},
                {(size_t)1 << 47, 16},
                {((size_t)1 << 47) - 1, 16},
                {HAK_MIB, (size_t)1 << 47},
                {HAK_MIB, (size_t)1 << 63},
                {PTRDIFF_MAX, HAK_MIB}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        size_t capacity;
        bool zeroed;
        assert_null(hak_large_take(rows[i].size, rows[i].align, &zeroed, &capacity));
        hak_large_check();
    }
    object it;
    size_t capacity;
    take(&it, HAK_MIB, 16);
    assert_false(hak_large_resize(it.at, (size_t)1 << 47, &capacity));
    assert_false(hak_large_resize(it.at, PTRDIFF_MAX, &capacity));
    assert_false(
        hak_large_resize(it.at, ((size_t)1 << 48) + HAK_MIB, &capacity)); /* 32 bits of granules: the same */
    give(&it);
}

static void alignments(void **state) {
    (void)state;
    for (size_t align = 16; align <= (size_t)1 << 32; align *= 4) {
        object a, b;
        take(&a, 300 * HAK_KIB, align);
        take(&b, 300 * HAK_KIB, align);
        hak_large_check();
        give(&a);
        give(&b);
        hak_large_check();
    }
}

static void dirty_is_bounded(void **state) {
    (void)state;
    hak_release_init(false, HAK_DECOMMIT_OFF, 0);
    object big, part[8];
    take(&big, 64 * HAK_MIB, 16);
    give(&big);
    (void)hak_large_purge(0);
    for (int round = 0; round < 3;
         round++) { /* 8 MiB are used again and again: never more than these may be dirty */
        for (int i = 0; i < 8; i++)
            take(&part[i], HAK_MIB, 16);
        for (int i = 0; i < 8; i++)
            give(&part[(i * 3) % 8]);
        hak_large_check();
        assert_true(hak_release_large_dirty <= 9 * HAK_MIB);
    }
    assert_true(hak_large_purge(0) <= 9 * HAK_MIB);
    take(&big, 64 * HAK_MIB, 16); /* what was purged reads as zero, and says so: take looks */
    give(&big);
}

static void idle_spans(void **state) {
    (void)state;
    hak_release_init(true, HAK_DECOMMIT_OFF, 0);
    object it;
    take(&it, 300 * HAK_MIB, 16);
    give(&it); /* more than release.c lets stay */
    assert_int_equal(hak_release_large_dirty, 0);
    hak_release_init(false, HAK_DECOMMIT_OFF, 0);
    take(&it, 300 * HAK_MIB, 16);
    give(&it);
    assert_true(hak_release_large_dirty >= (size_t)300 * HAK_MIB);
    (void)hak_large_purge(0);
}

/* The end goes, whole huge pages of it; the front is what the next object gets. */
static void part_of_a_span(void **state) {
    (void)state;
    hak_release_init(false, HAK_DECOMMIT_OFF, 0);
    (void)hak_large_purge(0);
    object it;
    take(&it, 64 * HAK_MIB, 16);
    uintptr_t start = (uintptr_t)it.at;
    give(&it);
    size_t before = hak_release_large_dirty, purged = hak_large_purge(16 * HAK_MIB);
    hak_large_check();
    assert_in_range(hak_release_large_dirty, 16 * HAK_MIB - HAK_SUPERSLAB, 16 * HAK_MIB);
    assert_int_equal(purged, before - hak_release_large_dirty);
    assert_int_equal(hak_os_resident_count(start, HAK_SUPERSLAB), HAK_SUPERSLAB / hak_os_page);
    assert_int_equal(hak_os_resident_count(start + 62 * HAK_MIB, HAK_SUPERSLAB), 0);
    take(&it, 64 * HAK_MIB, 16); /* take looks whether it is zero, if it is said to be */
    assert_int_equal((uintptr_t)it.at, start);
    give(&it);
    assert_in_range(hak_large_purge(15 * HAK_MIB), before - 15 * HAK_MIB, before);
    take(&it, 8 * HAK_MIB, 16);
    assert_int_equal(hak_release_large_dirty, hak_large_purge(0));
    give(&it);
    (void)hak_large_purge(0);
    assert_int_equal(hak_release_large_dirty, 0);
}

static void shrinking(void **state) {
    (void)state;
    hak_release_init(true, HAK_DECOMMIT_DONTNEED, 4 * HAK_MIB);
    object it;
    size_t capacity;
    take(&it, 100 * HAK_MIB, 16);
    assert_true(hak_large_resize(it.at, HAK_MIB, &capacity));
    hak_large_check();
    assert_true(hak_release_large_live + hak_release_large_dirty <= 5 * HAK_MIB);
    it.size = HAK_MIB;
    it.capacity = capacity;
    give(&it);
}

static void growing_at_the_end(void **state) {
    (void)state;
    object it, behind;
    size_t capacity;
    take(&it, HAK_MIB, 16);
    for (int i = 0; i < 8; i++) {
        size_t before = it.size;
        assert_true(hak_large_resize(it.at, 2 * before, &it.capacity));
        it.size = 2 * before;
        expect_paint(&it, before);
        for (size_t at = before; at < it.size; at += 4096)
            assert_int_equal(it.at[at], 0); /* never used */
        paint(&it);
        hak_large_check();
    }
    (void)hak_os_fail_at(1 | HAK_OS_FAIL_ON);
    assert_false(hak_large_resize(it.at, it.size + 1024 * (size_t)HAK_MIB, &capacity));
    (void)hak_os_fail_at(0);
    hak_large_check();
    take(&behind, HAK_MIB, 16);
    assert_false(hak_large_resize(it.at, it.size + 2 * HAK_MIB, &capacity));
    give(&behind); /* free, but too short alone */
    assert_true(hak_large_resize(it.at, it.size + 8 * HAK_MIB, &it.capacity));
    hak_large_check();
    assert_int_equal(hak_release_large_live, it.capacity);
    unsigned char *at = it.at;
    give(&it);
    take(&it, it.size, 16);
    assert_ptr_equal(it.at, at); /* all of it is one free span now */
    give(&it);
}

/* The object grows to a place elsewhere: what it had is there, and the old place is free and can be had again. */
static void moving(void **state) {
    (void)state;
    object it, behind, other;
    size_t capacity;
    take(&it, 3 * HAK_MIB, 16);
    take(&behind, HAK_MIB, 16);
    if (hak_region_find((uintptr_t)it.at)->body.reserved)
        skip(); /* beside a sanitizer: nothing is moved inside of a reservation */
    memset(it.at, 0x3c, it.size);
    size_t live = hak_release_large_live;
    unsigned char *to = hak_large_move(it.at, 8 * HAK_MIB, &capacity);
    assert_non_null(to);
    hak_large_check();
    assert_true(to != it.at && capacity == 8 * HAK_MIB);
    assert_int_equal(hak_release_large_live, live + 5 * HAK_MIB);
    for (size_t i = 0; i < it.size; i++)
        assert_int_equal(to[i], 0x3c);
    for (size_t i = it.size; i < capacity; i += 4096)
        to[i] = 1;
    assert_int_equal(hak_large_capacity(it.at), 0);
    assert_false(hak_large_give(it.at));
    take(&other, 3 * HAK_MIB, 16);
    give(&other);
    assert_true(hak_large_give(to));
    hak_large_check();
    give(&behind);
}

/* Whatever the OS says no to, the object is as it was, all of it. */
static void moving_refused(void **state) {
    (void)state;
    for (uint64_t k = 1;; k++) {
        object it;
        size_t capacity;
        hak_test_reset(HAK_RESET_FRESH);
        take(&it, 3 * HAK_MIB, 16);
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
    take(&it, 512 * HAK_KIB, 16);
    assert_null(hak_large_move(it.at, 8 * HAK_MIB, &capacity));
    give(&it);
    take(&it, 4 * HAK_MIB, 16);
    memset(it.at, 0x3c, it.size);
    assert_null(hak_large_move(it.at, 2 * HAK_MIB, &capacity));
    assert_int_equal(mprotect(it.at + 2 * HAK_MIB, HAK_MIB, PROT_READ), 0); /* three mappings */
    assert_null(hak_large_move(it.at, 8 * HAK_MIB, &capacity));
    hak_large_check();
    for (size_t i = 0; i < it.size; i++)
        assert_int_equal(it.at[i], 0x3c);
    assert_int_equal(mprotect(it.at + 2 * HAK_MIB, HAK_MIB, PROT_READ | PROT_WRITE), 0);
    paint(&it);
    give(&it);
}

/* Free spans are not mapped any more, what is live is as it was, and all can be had again, zeroed. */
static void hollowed(void **state) {
    (void)state;
    object objects[8];
    for (int i = 0; i < 8; i++)
        take(&objects[i], HAK_MIB, 16);
    for (int i = 0; i < 8; i += 2)
        give(&objects[i]);
    size_t committed = hak_region_committed;
    size_t bytes = hak_large_hollow();
    assert_true(bytes >= 4 * HAK_MIB && hak_region_committed == committed - bytes);
    hak_large_check();
    assert_int_equal(hak_large_hollow(), 0);
    for (int i = 1; i < 8; i += 2)
        expect_paint(&objects[i], objects[i].size);
    for (int i = 0; i < 8; i += 2) {
        take(&objects[i], HAK_MIB / 2, 16);
        hak_large_check();
    }
    for (int i = 0; i < 8; i++)
        give(&objects[i]);
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
                paint(&objects[i]);
                give(&objects[i]);
            }
        bool over = hak_os_fail_at(0) < k;
        hak_large_check();
        assert_int_equal(hak_release_large_live, 0);
        take(&objects[0], HAK_MIB, 16);
        give(&objects[0]);
        if (over)
            break;
    }
}

static hak_span *record_of(const void *obj) {
    return hak_region_record(hak_region_find((uintptr_t)obj), (uintptr_t)obj);
}
static void walk(void *unused) {
    (void)unused;
    hak_large_check();
}

static void corruption(void **state) {
    (void)state;
    object a, b;
    take(&a, HAK_MIB, 16);
    take(&b, HAK_MIB, 16);
    hak_span *span = record_of(a.at), *last = span + span->granules - 1;
    hak_span *const records[] = {span, last};
    for (int i = 0; i < 2; i++)
        for (unsigned bit = 0; bit < 32; bit++) {
            records[i]->granules ^= (uint32_t)1 << bit;
            unit_expect_death(walk, NULL, "corrupt metadata");
            records[i]->granules ^= (uint32_t)1 << bit;
        }
    for (uint8_t wrong = 0; wrong < 2; wrong++) {
        span->state = wrong;
        unit_expect_death(walk, NULL, "last record of span");
        span->state = HAK_SPAN_LIVE;
    }
    hak_tag_set((uintptr_t)a.at, HAK_GRANULE, HAK_TAG_NONE);
    unit_expect_death(walk, NULL, "tag of span");
    hak_tag_set((uintptr_t)a.at, HAK_GRANULE, HAK_TAG_LARGE);
    give(&a);
    give(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE("objects taken, resized and given at random keep their contents", random_walk),
        CASE("the same, where free memory goes back lazily", random_walk_lazy),
        CASE("the same, where free memory goes back at once", random_walk_now),
        CASE("free neighbours become one span, in whichever order they are freed", merging),
        CASE("an address that begins no live object is refused", not_live),
        CASE("impossible sizes and alignments are refused and change nothing", impossible),
        CASE("every alignment up to 4 GiB is kept", alignments),
        CASE("no more counts as dirty than what was used", dirty_is_bounded),
        CASE("more free memory than the policy lets stay goes back at once", idle_spans),
        CASE("of a long span only as much goes as the policy wants", part_of_a_span),
        CASE("what a shrinking object leaves goes back as the policy says", shrinking),
        CASE("an object at the end of its region grows in place", growing_at_the_end),
        CASE("an object's pages are moved to where it can grow", moving),
        CASE("a move that the OS refuses at any step changes nothing", moving_refused),
        CASE("what cannot be moved, or is too small for it, stays", moving_does_not_pay),
        CASE("free spans lose their memory, and get it again", hollowed),
        CASE("a refusal of the OS at any step leaves everything consistent", refusals),
        CASE("a flipped bit of a span's length, state or tag is found", corruption),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
