/* large_test.c: large objects: spans that are cut, merged and purged, and what is refused. */
#include "tests/unit/objects.h"

#include "allocator/heap/large.h"
#include "allocator/os/os.h"
#include "allocator/os/os_process.h"
#include "allocator/pages/release.h"
#include "allocator/pages/tag.h"

#include <sys/mman.h>

static void merging(void **state) {
    (void)state;
    object a, b, c;
    for (int order = 0; order < 6; order++) { /* after the last free, one free span is left */
        object_take(&a, HAK_MIB, 16);
        object_take(&b, HAK_MIB, 16);
        object_take(&c, HAK_MIB, 16);
        object *const orders[6][3] = {{&a, &b, &c}, {&a, &c, &b}, {&b, &a, &c},
                                      {&b, &c, &a}, {&c, &a, &b}, {&c, &b, &a}};
        uintptr_t lowest = (uintptr_t)a.at;
        for (int i = 0; i < 3; i++) {
            object_give(orders[order][i]);
            hak_large_check();
        }
        object whole;
        object_take(&whole, 3 * HAK_MIB, 16);
        assert_int_equal((uintptr_t)whole.at, lowest);
        object_give(&whole);
    }
}

static void not_live(void **state) {
    (void)state;
    object it;
    object_take(&it, HAK_MIB, 16);
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
    object_give(&it);
    assert_false(hak_large_give(at)); /* the caller reports a double free */
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
    object_take(&it, HAK_MIB, 16);
    assert_false(hak_large_resize(it.at, (size_t)1 << 47, &capacity));
    assert_false(hak_large_resize(it.at, PTRDIFF_MAX, &capacity));
    assert_false(
        hak_large_resize(it.at, ((size_t)1 << 48) + HAK_MIB, &capacity)); /* more than 32 bits of granules */
    object_give(&it);
}

static void alignments(void **state) {
    (void)state;
    for (size_t align = 16; align <= (size_t)1 << 32; align *= 4) {
        object a, b;
        object_take(&a, 300 * HAK_KIB, align);
        object_take(&b, 300 * HAK_KIB, align);
        hak_large_check();
        object_give(&a);
        object_give(&b);
        hak_large_check();
    }
}

static void dirty_is_bounded(void **state) {
    (void)state;
    hak_release_init(false, HAK_DECOMMIT_OFF, 0);
    object big, part[8];
    object_take(&big, 64 * HAK_MIB, 16);
    object_give(&big);
    (void)hak_large_purge(0);
    for (int round = 0; round < 3; round++) { /* 8 MiB are used again and again: at most these may be dirty */
        for (int i = 0; i < 8; i++)
            object_take(&part[i], HAK_MIB, 16);
        for (int i = 0; i < 8; i++)
            object_give(&part[(i * 3) % 8]);
        hak_large_check();
        assert_true(hak_release_large_dirty <= 9 * HAK_MIB);
    }
    assert_true(hak_large_purge(0) <= 9 * HAK_MIB);
    object_take(&big, 64 * HAK_MIB, 16); /* purged memory reads as zero and is marked so: take checks it */
    object_give(&big);
}

static void idle_spans(void **state) {
    (void)state;
    hak_release_init(true, HAK_DECOMMIT_OFF, 0);
    object it;
    object_take(&it, 300 * HAK_MIB, 16);
    object_give(&it); /* more than release.c keeps */
    assert_int_equal(hak_release_large_dirty, 0);
    hak_release_init(false, HAK_DECOMMIT_OFF, 0);
    object_take(&it, 300 * HAK_MIB, 16);
    object_give(&it);
    assert_true(hak_release_large_dirty >= (size_t)300 * HAK_MIB);
    (void)hak_large_purge(0);
}

/* Whole huge pages at the end go; the next object gets the front. */
static void part_of_a_span(void **state) {
    (void)state;
    hak_release_init(false, HAK_DECOMMIT_OFF, 0);
    (void)hak_large_purge(0);
    object it;
    object_take(&it, 64 * HAK_MIB, 16);
    uintptr_t start = (uintptr_t)it.at;
    object_give(&it);
    size_t before = hak_release_large_dirty, purged = hak_large_purge(16 * HAK_MIB);
    hak_large_check();
    assert_in_range(hak_release_large_dirty, 16 * HAK_MIB - HAK_SUPERSLAB, 16 * HAK_MIB);
    assert_int_equal(purged, before - hak_release_large_dirty);
    assert_int_equal(hak_os_resident_count(start, HAK_SUPERSLAB), HAK_SUPERSLAB / hak_os_page);
    assert_int_equal(hak_os_resident_count(start + 62 * HAK_MIB, HAK_SUPERSLAB), 0);
    object_take(&it, 64 * HAK_MIB, 16); /* take checks that the memory is zero, if it is marked so */
    assert_int_equal((uintptr_t)it.at, start);
    object_give(&it);
    assert_in_range(hak_large_purge(15 * HAK_MIB), before - 15 * HAK_MIB, before);
    object_take(&it, 8 * HAK_MIB, 16);
    assert_int_equal(hak_release_large_dirty, hak_large_purge(0));
    object_give(&it);
    (void)hak_large_purge(0);
    assert_int_equal(hak_release_large_dirty, 0);
}

static void shrinking(void **state) {
    (void)state;
    hak_release_init(true, HAK_DECOMMIT_DONTNEED, 4 * HAK_MIB);
    object it;
    size_t capacity;
    object_take(&it, 100 * HAK_MIB, 16);
    assert_true(hak_large_resize(it.at, HAK_MIB, &capacity));
    hak_large_check();
    assert_true(hak_release_large_live + hak_release_large_dirty <= 5 * HAK_MIB);
    it.size = HAK_MIB;
    it.capacity = capacity;
    object_give(&it);
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
    object_take(&a, HAK_MIB, 16);
    object_take(&b, HAK_MIB, 16);
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
    object_give(&a);
    object_give(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE("free neighbours become one span, in whichever order they are freed", merging),
        CASE("an address that begins no live object is refused", not_live),
        CASE("impossible sizes and alignments are refused and change nothing", impossible),
        CASE("every alignment up to 4 GiB is kept", alignments),
        CASE("no more counts as dirty than what was used", dirty_is_bounded),
        CASE("more free memory than the policy lets stay goes back at once", idle_spans),
        CASE("of a long span only as much goes as the policy wants", part_of_a_span),
        CASE("what a shrinking object leaves goes back as the policy says", shrinking),
        CASE("a flipped bit of a span's length, state or tag is found", corruption),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
