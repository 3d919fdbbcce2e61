/* effects_test.c: the effects of the settings, seen in the requests to the OS and in resident memory, in time and by
 * size. It uses the public functions, on a clock that the test moves. */
#include "tests/unit/unit.h"

#include "allocator/cache/cache.h"
#include "allocator/heap/huge.h"
#include "allocator/heap/large.h"
#include "allocator/life/idle.h"
#include "allocator/options.h"
#include "allocator/os/os.h"
#include "allocator/os/os_cgroup.h"
#include "allocator/os/os_process.h"
#include "allocator/pages/region.h"
#include "allocator/pages/release.h"
#include "allocator/pages/superslab.h"
#include "allocator/policy.h"
#include "include/hakmem.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

enum { PERIOD = HAK_IDLE_PERIOD_MS };

/* Replaces libc's madvise and records the range for which huge pages were requested, the bytes for which none were
 * (MADV_NOHUGEPAGE), and the range that was to become huge pages at once (MADV_COLLAPSE, which is not carried out). */
static uintptr_t huge_from, huge_to, collapse_from, collapse_to;
static unsigned huge_calls, collapses;
static size_t not_huge;
static int asked_last; /* MADV_HUGEPAGE or MADV_NOHUGEPAGE */
static bool forbidden; /* a range was to become a huge page when the latter was the last call */
int madvise(void *addr, size_t size, int advice) {
    if (advice == MADV_HUGEPAGE || advice == MADV_NOHUGEPAGE)
        asked_last = advice;
    if (advice == MADV_HUGEPAGE) {
        huge_calls++;
        huge_from = (uintptr_t)addr;
        huge_to = (uintptr_t)addr + size;
    }
    if (advice == MADV_NOHUGEPAGE)
        not_huge += size;
    if (advice == MADV_COLLAPSE) {
        collapses++;
        forbidden |= asked_last == MADV_NOHUGEPAGE;
        collapse_from = (uintptr_t)addr < collapse_from ? (uintptr_t)addr : collapse_from;
        collapse_to = (uintptr_t)addr + size > collapse_to ? (uintptr_t)addr + size : collapse_to;
        return 0;
    }
    return (int)syscall(SYS_madvise, addr, size, advice);
}

static uint64_t later; /* milliseconds by which the test's clock is ahead */

/* Lets so much time go by, in steps; the allocator looks at the clock in each step. */
static void pass(unsigned milliseconds) {
    for (unsigned step = 0; step < milliseconds; step += PERIOD) {
        later += PERIOD;
        hak_idle_pass(hak_os_milliseconds() + later);
    }
}

static size_t dirty_large(void) {
    return atomic_load(&hak_release_large_dirty);
}

/* A free resident span of so many MiB. The memory around it keeps it apart from the next one. */
static char *span(size_t mib) {
    size_t capacity;
    char *obj = hak_large_take(mib * HAK_MIB, HAK_MIN_ALIGN, NULL, &capacity);
    assert_non_null(obj);
    memset(obj, 'x', mib * HAK_MIB);
    return obj;
}

static int fresh(void **state) {
    later = 0;
    huge_calls = collapses = 0;
    huge_from = huge_to = 0;
    atomic_store(&hak_os_cgroup_known, HAK_CGROUP_LARGE);
    (void)unit_fresh(state);
    hak_release_init(true, HAK_DECOMMIT_OFF, 10 * HAK_MIB);
    return 0;
}

/* All memory that was free for ten seconds goes; with the gate closed, for a hundred seconds. */
static void idle_memory_goes(void **state) {
    (void)state;
    const struct {
        bool lean;
        unsigned keeps_ms, gone_ms;
    } rows[] = {{true, 9000, 2500}, {false, 90000, 25000}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        (void)fresh(NULL);
        hak_release_init(rows[i].lean, HAK_DECOMMIT_OFF, 10 * HAK_MIB);
        char *obj = span(4);
        assert_true(hak_large_give(obj));
        assert_int_equal(dirty_large(), 4 * HAK_MIB);
        pass(rows[i].keeps_ms);
        assert_int_equal(dirty_large(), 4 * HAK_MIB);
        pass(rows[i].gone_ms);
        assert_int_equal(dirty_large(), 0);
    }
}

/* Objects in bins that nobody uses go too, and so does the memory of empty slabs. */
static void idle_slabs_go(void **state) {
    (void)state;
    enum { SMALL = 2000, WIDE = 500 };
    static void *objs[SMALL];
    if (HAK_POLICY_CLASS_BOUND) { /* a quarantine has them */
        skip();
    }
    for (int i = 0; i < WIDE; i++)
        objs[i] = memset(hak_malloc(60000), 1, 60000);
    for (int i = 0; i < WIDE; i++)
        hak_free(objs[i]);
    for (int i = 0; i < SMALL; i++)
        objs[i] = hak_malloc(100);
    for (int i = 0; i < SMALL; i++)
        hak_free(objs[i]);
    size_t held[HAK_TAGS] = {0};
    hak_cache_count(held);
    assert_int_not_equal(held[hak_class_of(100)], 0);
    assert_true(atomic_load(&hak_superslab_free_dirty) > 8 * HAK_MIB);
    for (int i = 0; i < 8; i++) { /* with calls for another class: each thread looks at its own bins */
        pass(10000);
        for (int k = 0; k < WIDE; k++)
            objs[k] = hak_malloc(3000);
        for (int k = 0; k < WIDE; k++)
            hak_free(objs[k]);
    }
    memset(held, 0, sizeof held);
    hak_cache_count(held);
    assert_int_equal(held[hak_class_of(100)], 0);
    assert_in_range(atomic_load(&hak_superslab_free_dirty), 0, 4 * HAK_MIB);
}

/* The byte there; 0 where none is mapped any more. */
static char byte_at(const char *at) {
    char byte = 0;
    (void)hak_os_read(&byte, (uintptr_t)at, 1);
    return byte;
}

/* Of two spans, the one that was freed first goes first. */
static void oldest_goes_first(void **state) {
    (void)state;
    char *older = span(4), *between = span(1), *newer = span(4), *end = span(1);
    assert_true(hak_large_give(older));
    assert_true(hak_large_give(newer));
    assert_true(hak_large_purge(4 * HAK_MIB) >= 4 * HAK_MIB);
    assert_int_equal(byte_at(older + HAK_MIB), 0);
    assert_int_equal(byte_at(newer + HAK_MIB), 'x');
    assert_int_equal(hak_large_purge(0), 4 * HAK_MIB);
    assert_int_equal(byte_at(newer + HAK_MIB), 0);
    assert_true(hak_large_give(between));
    assert_true(hak_large_give(end));
}

/* Slabs of `mib` MiB that are touched. */
static void heap_of(size_t mib) {
    for (size_t i = 0; i < mib * 16; i++)
        memset(hak_malloc(60000), 'x', 60000);
}

/* AUTO: no huge pages below 12 MiB, then for the part above; ALWAYS: from the start; OFF: never. */
static void huge_pages(void **state) {
    (void)state;
    const struct {
        size_t from, mib;
        bool asked;
    } rows[] = {{12 * HAK_MIB, 6, false}, {SIZE_MAX, 40, false}, {0, 6, true}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        (void)fresh(NULL);
        hak_region_huge_from = rows[i].from;
        heap_of(rows[i].mib);
        if ((huge_calls != 0) != rows[i].asked)
            fail_msg("row %zu: asked %u times", i, huge_calls);
        assert_true(huge_calls == 0 || (huge_from % HAK_SUPERSLAB == 0 && huge_to % HAK_SUPERSLAB == 0));
    }
    hak_region_huge_from = hak_option.huge_from;
}

/* Only behind memory of which half is touched: all of a huge page is resident. */
static void huge_pages_behind_dense_memory(void **state) {
    (void)state;
    enum { MIBS = 100, OBJECT_PAGES = 14, SIZE = OBJECT_PAGES * 4096 };
    if (!hak_os_resident_told() || hak_os_page != 4096)
        skip();
    const struct {
        unsigned touched;
        bool asked;
    } rows[] = {{0, false}, {4, false}, {10, true}, {OBJECT_PAGES, true}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        (void)fresh(NULL);
        hak_region_huge_from = HAK_MIB;
        for (size_t made = 0; made < MIBS * HAK_MIB; made += SIZE)
            memset(hak_malloc(SIZE), 'x', rows[i].touched * hak_os_page);
        if ((huge_calls != 0) != rows[i].asked)
            fail_msg("%u of %u pages: asked %u times", rows[i].touched, OBJECT_PAGES, huge_calls);
    }
    hak_region_huge_from = hak_option.huge_from;
}

/* Memory that was unmapped and comes back is as it was at first. */
static void small_pages_come_back(void **state) {
    (void)state;
    enum { TAKEN = 8 * HAK_MIB, GONE = 2 * HAK_MIB };
    hak_os_huge_mode was = atomic_load(&hak_os_huge_known);
    atomic_store(&hak_os_huge_known, HAK_HUGE_ALWAYS);
    hak_region *region;
    uintptr_t at = hak_region_take(HAK_REGION_LARGE, TAKEN, &region);
    assert_int_not_equal(at, 0);
    assert_true(hak_region_hollow(region, at + GONE, GONE));
    not_huge = 0;
    assert_int_equal(hak_region_fill(region, at + GONE, GONE), HAK_MAP_DONE);
    assert_int_equal(not_huge, GONE);
    atomic_store(&hak_os_huge_known, was);
}

/* Where the kernel makes huge pages unasked, memory begins without: as much as the heap has; but not with ALWAYS. Where
 * it does not, nothing is said about small pages. */
static void huge_pages_unasked(void **state) {
    (void)state;
    hak_os_huge_mode was = atomic_load(&hak_os_huge_known);
    const struct {
        hak_os_huge_mode mode;
        size_t from;
        bool refused;
    } rows[] = {{HAK_HUGE_ASKED, HAK_MIB << 10, false},
                {HAK_HUGE_ALWAYS, HAK_MIB << 10, true},
                {HAK_HUGE_ALWAYS, SIZE_MAX, true},
                {HAK_HUGE_ALWAYS, 0, false}};
    enum { MIBS = 80 };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        atomic_store(&hak_os_huge_known, rows[i].mode);
        hak_region_huge_from = rows[i].from;
        (void)fresh(NULL);
        not_huge = 0;
        heap_of(MIBS);
        (void)span(MIBS);
        /* a part was mapped before */
        if (rows[i].refused ? not_huge < 2 * MIBS * HAK_MIB / 8 * 7 : not_huge != 0)
            fail_msg("row %zu: small pages for %zu bytes", i, not_huge);
    }
    hak_region_huge_from = hak_option.huge_from;
    atomic_store(&hak_os_huge_known, was);
}

/* After one look at the memory of large objects, twice as much was handed out again as ever before. */
static unsigned asked_by_a_look(void) {
    static size_t turned = HAK_MIB << 10;
    collapses = 0;
    turned *= 2;
    hak_lock_take(&hak_large_lock);
    hak_huge_turned(turned);
    hak_lock_give(&hak_large_lock);
    return collapses;
}

enum {
    OBJECTS = 4,
    OBJECT = 8 * HAK_MIB + 20 * HAK_GRANULE
}; /* the last one does not end at the edge of a huge page */
static void touch(char *const *objs, unsigned pages_of_16) {
    for (int i = 0; i < OBJECTS; i++)
        for (size_t page = 0; page < OBJECT / hak_os_page; page++)
            if (page % 16 < pages_of_16)
                objs[i][page * hak_os_page] = 1;
}

/* So many of 16 pages are touched before each of three looks. A quarter is enough, an eighth while memory grows.
 * Below the bound, and where huge pages are off, nothing becomes huge. */
static void collapse(void **state) {
    (void)state;
    if (!hak_os_resident_told()) {
        skip();
    }
    const struct {
        size_t from;
        unsigned pages[3];
        bool asked[3];
    } rows[] = {
        {HAK_MIB, {1, 1, 1}, {false, false, false}},       {HAK_MIB, {3, 3, 3}, {false, false, false}},
        {HAK_MIB, {5, 5, 5}, {true, true, true}},          {HAK_MIB, {1, 3, 3}, {false, false, true}},
        {HAK_MIB, {1, 1, 3}, {false, false, false}},       {HAK_MIB, {15, 15, 15}, {true, true, true}},
        {HAK_MIB, {2, 3, 3}, {false, false, true}},        {SIZE_MAX, {5, 5, 5}, {false, false, false}},
        {HAK_MIB << 10, {5, 5, 5}, {false, false, false}},
    };
    assert_int_equal(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0), 0); /* pages become resident one by one */
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        (void)fresh(NULL);
        hak_region_huge_from = rows[i].from;
        char *objs[OBJECTS];
        for (int k = 0; k < OBJECTS; k++) {
            size_t capacity;
            assert_non_null(objs[k] = hak_large_take(OBJECT, HAK_MIN_ALIGN, NULL, &capacity));
        }
        for (int look = 0; look < 3; look++) {
            touch(objs, rows[i].pages[look]);
            collapse_from = UINTPTR_MAX, collapse_to = 0;
            unsigned asked = asked_by_a_look();
            uintptr_t first = UINTPTR_MAX, end = 0;
            for (int k = 0; k < OBJECTS; k++) {
                first = hak_min(first, (uintptr_t)objs[k]);
                end = hak_max(end, (uintptr_t)objs[k] + OBJECT);
            }
            assert_true(collapse_to == 0 || (collapse_from >= first && collapse_to <= end));
            if ((asked != 0) != rows[i].asked[look])
                fail_msg("row %zu, look %d: asked %u times", i, look, asked);
        }
        for (int k = 0; k < OBJECTS; k++)
            assert_true(hak_large_give(objs[k]));
    }
    assert_int_equal(prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0), 0);
    hak_region_huge_from = hak_option.huge_from;
}

/* Where memory begins with small pages, its mark is lifted while a place becomes a huge page, and set again: else its
 * pages would come back as huge ones after each purge, however few are touched. Elsewhere nothing is marked. */
static void collapse_unasked(void **state) {
    (void)state;
    if (!hak_os_resident_told()) {
        skip();
    }
    hak_os_huge_mode was = atomic_load(&hak_os_huge_known);
    assert_int_equal(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0), 0);
    for (int always = 0; always < 2; always++) {
        atomic_store(&hak_os_huge_known, always ? HAK_HUGE_ALWAYS : HAK_HUGE_ASKED);
        hak_region_huge_from = HAK_MIB;
        (void)fresh(NULL);
        size_t capacity;
        char *obj = hak_large_take(OBJECT, HAK_MIN_ALIGN, NULL, &capacity);
        assert_non_null(obj);
        for (size_t page = 0; page < OBJECT / hak_os_page; page++)
            if (page % 16 != 0) /* what is resident as a whole is left as it is */
                obj[page * hak_os_page] = 1;
        huge_calls = 0;
        not_huge = 0;
        forbidden = false;
        unsigned asked = asked_by_a_look();
        assert_int_not_equal(asked, 0);
        assert_false(forbidden);
        assert_int_equal(huge_calls, always ? asked : 0);
        assert_int_equal(not_huge, always ? asked * HAK_SUPERSLAB : 0);
        assert_true(!always || asked_last == MADV_NOHUGEPAGE);
        assert_true(hak_large_give(obj));
    }
    assert_int_equal(prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0), 0);
    hak_region_huge_from = hak_option.huge_from;
    atomic_store(&hak_os_huge_known, was);
}

/* In a small control group nothing becomes a huge page, but with ALWAYS. */
static void small_group(void **state) {
    (void)state;
    if (!hak_os_resident_told()) {
        skip();
    }
    const struct {
        hak_os_cgroup_size size;
        size_t from;
        bool asked, collapsed;
    } rows[] = {{HAK_CGROUP_LARGE, 12 * HAK_MIB, true, true},
                {HAK_CGROUP_SMALL, 12 * HAK_MIB, false, false},
                {HAK_CGROUP_SMALL, 0, true, true}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        hak_region_huge_from = rows[i].from;
        (void)fresh(NULL);
        atomic_store(&hak_os_cgroup_known, rows[i].size);
        heap_of(40);
        if ((huge_calls != 0) != rows[i].asked)
            fail_msg("row %zu: asked %u times", i, huge_calls);
        assert_int_equal(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0), 0); /* pages become resident one by one */
        (void)fresh(NULL);
        atomic_store(&hak_os_cgroup_known, rows[i].size);
        char *objs[OBJECTS];
        for (int k = 0; k < OBJECTS; k++) {
            size_t capacity;
            assert_non_null(objs[k] = hak_large_take(OBJECT, HAK_MIN_ALIGN, NULL, &capacity));
        }
        touch(objs, 15);
        unsigned collapsed = asked_by_a_look();
        if ((collapsed != 0) != rows[i].collapsed)
            fail_msg("row %zu: %u became huge", i, collapsed);
        for (int k = 0; k < OBJECTS; k++)
            assert_true(hak_large_give(objs[k]));
        assert_int_equal(prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0), 0);
    }
    hak_region_huge_from = hak_option.huge_from;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        {"idle memory goes back after ten seconds, in the speed profile after a hundred", idle_memory_goes,
         fresh, NULL, NULL},
        {"so do what bins hold, and empty slabs", idle_slabs_go, fresh, NULL, NULL},
        {"of two free spans the older goes first", oldest_goes_first, fresh, NULL, NULL},
        {"huge pages are asked for from 12 MiB on, from the start, or never", huge_pages, fresh, NULL, NULL},
        {"memory begins with small pages where the kernel makes huge ones unasked", huge_pages_unasked, fresh,
         NULL, NULL},
        {"and has small pages when it comes back", small_pages_come_back, fresh, NULL, NULL},
        {"huge pages are asked for behind dense memory only", huge_pages_behind_dense_memory, fresh, NULL,
         NULL},
        {"what is dense becomes huge pages, and what grows to be", collapse, fresh, NULL, NULL},
        {"nothing does in a small control group", small_group, fresh, NULL, NULL},
        {"it does so once where memory begins with small pages", collapse_unasked, fresh, NULL, NULL},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
