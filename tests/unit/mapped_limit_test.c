/* mapped_limit_test.c: under a limit that counts what is mapped, free memory is unmapped; what comes and goes is not;
 * and what is in use never is. */
#include "tests/unit/slabs.h"

#include "allocator/base/bits.h"
#include "allocator/cache/cache.h"
#include "allocator/heap/large.h"
#include "allocator/life/idle.h"
#include "allocator/life/reclaim.h"
#include "allocator/os/extent.h"
#include "allocator/os/os.h"
#include "allocator/os/os_process.h"
#include "allocator/pages/mapped_limit.h"
#include "allocator/pages/release.h"
#include "allocator/pages/superslab.h"
#include "allocator/policy.h"
#include "include/hakmem.h"

#include <string.h>
#include <sys/resource.h>

enum { OBJECTS = 4096 };
static const size_t LIMIT = 64 * HAK_MIB;

static void *objects[OBJECTS];

/* CASE, with a limit from the start of the test on. */
#define LIMITED_CASE(text, function) {text, function, limited, unlimited, NULL}

static int limited(void **state) {
    int result = unit_fresh(state);
    (void)hak_limit_set(LIMIT);
    hak_policy_limited(); /* threads that begin later look at the limit by themselves */
    return result;
}
static int unlimited(void **state) {
    (void)state;
    (void)hak_limit_set(SIZE_MAX);
    return 0;
}

static void check_all(void) {
    hak_superslab_check();
    hak_large_check();
}

/* Bytes that are mapped without an owner: records and tables apart, and what a class keeps. */
static size_t mapped_free(void) {
    return hak_region_mapped - hak_region_metadata - hak_superslab_live_bytes - hak_release_large_live;
}

static void shares(void **state) {
    (void)state;
    static const struct {
        size_t limit, live, most; /* MiB */
    } rows[] = {{32, 0, 1}, {64, 0, 1}, {160, 0, 2}, {6400, 0, 100}, {640, 100, 10}, {640, 1600, 100}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        (void)hak_limit_set(rows[i].limit * HAK_MIB);
        if (hak_limit_most(rows[i].live * HAK_MIB) / HAK_MIB != rows[i].most)
            fail_msg("row %zu: most %zu", i, hak_limit_most(rows[i].live * HAK_MIB));
    }
    assert_false(hak_limit_set(SIZE_MAX));
    assert_int_equal(hak_limit_most(1000 * HAK_MIB), SIZE_MAX);
    assert_false(hak_limit_unmaps(0));
    assert_true(hak_limit_set(200 * HAK_MIB)); /* new */
    assert_false(hak_limit_set(200 * HAK_MIB));
    assert_false(hak_limit_set(300 * HAK_MIB)); /* more room */
    assert_true(hak_limit_set(100 * HAK_MIB));
    assert_true(hak_limit_is_tight() && hak_limit_is_costly(hak_class_of(100000)));
    assert_false(hak_limit_is_costly(hak_class_of(100)));
    (void)hak_limit_set((size_t)64 << 30);
    assert_true(hak_limit_is_there() && !hak_limit_is_tight() && !hak_limit_is_costly(hak_class_of(100000)));
    size_t maps = hak_os_maps_allowed() / 20; /* the program needs mappings, too */
    assert_true(hak_limit_unmaps(0) && hak_limit_unmaps(maps - 1) && !hak_limit_unmaps(maps));
}

/* Below 4 GiB slots of which one keeps much mapped rest nowhere: wide ones, and those of slabs of 512 KiB or more. */
static void costly_slots(void **state) {
    (void)state;
    const size_t tight = (size_t)4 << 30;
    (void)hak_limit_set(tight);
    assert_true(hak_limit_is_there() && !hak_limit_is_tight());
    (void)hak_limit_set(tight - 64);
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++) {
        size_t size = hak_classes[cls].size;
        bool is_long = HAK_POLICY_CLASS_BOUND && ((size >= 1088 && size <= 4608) || size == 5632 ||
                                                  size == 6656 || size == 7680); /* docs/THREATS.md */
        if (hak_limit_is_costly(cls) != (size >= 8192 || is_long))
            fail_msg("%zu bytes", size);
    }
}

/* A limit far above what is mapped, so that it refuses nothing. */
static void asked_of_the_os(void **state) {
    (void)state;
    if (hak_os_strict())
        skip();
    struct rlimit before, now, space;
    assert_int_equal(getrlimit(RLIMIT_DATA, &before), 0);
    (void)hak_limit_look();
    now = before;
    now.rlim_cur = (rlim_t)1 << 40;
    if (before.rlim_max < now.rlim_cur)
        skip();
    assert_int_equal(setrlimit(RLIMIT_DATA, &now), 0);
    uint8_t filter = atomic_exchange(&hak_os_filter, HAK_FILTER_OWN); /* which may kill it for asking */
    assert_false(hak_limit_look());
    assert_int_equal(hak_limit_is_there(), before.rlim_cur != RLIM_INFINITY);
    atomic_store(&hak_os_filter, filter);
    assert_true(hak_limit_look());
    assert_int_equal(hak_os_limit(), (size_t)1 << 40);
    assert_int_equal(getrlimit(RLIMIT_AS, &space), 0);
    for (int log2 = 39; log2 <= 41; log2++) { /* of two limits the lower one; nothing is mapped meanwhile */
        struct rlimit less = {(rlim_t)1 << log2, space.rlim_max};
        int set = setrlimit(RLIMIT_AS, &less);
        size_t limit = hak_os_limit();
        (void)setrlimit(RLIMIT_AS, &space);
        assert_true(set != 0 || limit == (size_t)1 << hak_min(log2, 40));
    }
    assert_false(hak_limit_look());
    assert_int_equal(setrlimit(RLIMIT_DATA, &before), 0);
    assert_false(hak_limit_look());
    assert_int_equal(hak_limit_is_there(), before.rlim_cur != RLIM_INFINITY);
}

/* Fills and frees `bytes` of objects, in an order that is not the one in which they lie. */
static void burst(size_t size, size_t bytes) {
    size_t count = bytes / size;
    assert_true(count <= OBJECTS);
    for (size_t i = 0; i < count; i++) {
        objects[i] = hak_malloc(size);
        assert_non_null(objects[i]);
        memset(objects[i], 1, hak_min(size, 4096));
    }
    for (size_t step = 0; step < 7; step++)
        for (size_t i = step; i < count; i += 7)
            hak_free(objects[i]);
    check_all();
}

static void freed_goes(void **state) {
    (void)state;
    unit_skip_where_reserved();
    static const size_t sizes[] = {20000, 100000, 250000, 300000, 1000000, 9000000, 40000000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        burst(sizes[i], 40000000);
        /* two shares, and superslabs of which a part is in use */
        if (mapped_free() + hak_superslab_live_bytes > 12 * HAK_MIB)
            fail_msg("%zu bytes: %zu free, %zu in slabs", sizes[i], mapped_free(), hak_superslab_live_bytes);
    }
}

/* Slabs come and go under a limit, and each is written to whole: none that is in use is unmapped. */
static void used_stays(void **state) {
    (void)state;
    enum { SLABS = 100, STEPS = 3000 };
    static hak_slab *slabs[SLABS];
    uint64_t seed = 7;
    for (unsigned step = 0; step < STEPS; step++) {
        hak_slab **slab = &slabs[unit_random(&seed) % SLABS];
        if (*slab != NULL) {
            slab_touch(*slab, 0x33);
            hak_superslab_give_slab(*slab);
            *slab = NULL;
        } else {
            *slab = hak_superslab_take_slab(1 + (unsigned)(unit_random(&seed) % HAK_CLASSES), 0);
            assert_non_null(*slab);
            slab_touch(*slab, 0x5a);
        }
        if (step % 50 == 0)
            hak_superslab_check();
        if (step % 1000 == 999)
            hak_superslab_release_idle();
    }
    for (unsigned i = 0; i < SLABS; i++)
        if (slabs[i] != NULL)
            hak_superslab_give_slab(slabs[i]);
    hak_superslab_check();
}

/* A slab that takes fresh memory, while much is free, lies beside what goes for it. */
static void born_beside(void **state) {
    (void)state;
    enum { OTHERS = 28 };
    hak_slab *others[OTHERS], *slab = hak_superslab_take_slab(1, 0);
    assert_int_equal(slabs_take(others, OTHERS, 2), OTHERS);
    hak_superslab_give_slab(slab);
    (void)hak_superslab_hollow(); /* the slab's memory is gone */
    for (unsigned i = 0; i < OTHERS; i++)
        hak_superslab_give_slab(others[i]);
    (void)hak_limit_set(LIMIT); /* nothing has gone for it yet */
    slab = hak_superslab_take_slab(HAK_POLICY_CLASS_BOUND ? 1 : slab_class_with(HAK_SUPERSLAB_GRANULES), 0);
    slab_touch(slab, 0x5a);
    hak_superslab_check();
    hak_superslab_give_slab(slab);
    (void)hak_limit_set(SIZE_MAX);
}

static uint64_t calls(void) {
    return hak_os_counts.mmap + hak_os_counts.munmap + hak_os_counts.madvise + hak_os_counts.mprotect;
}

/* Calls of the OS per thousand operations that replace one of the objects. */
static uint64_t replaced(size_t least, size_t most, size_t live) {
    size_t count = live / ((least + most) / 2);
    uint64_t seed = 3, before = 0;
    enum { WARM = 4000, OPERATIONS = 12000 };
    assert_true(count <= OBJECTS);
    memset(objects, 0, sizeof objects);
    for (unsigned i = 0; i < WARM + OPERATIONS; i++) {
        if (i == WARM)
            before = calls();
        void **obj = &objects[i < count ? i : unit_random(&seed) % count];
        hak_free(*obj);
        *obj = hak_malloc(least + unit_random(&seed) % (most - least + 1));
        assert_non_null(*obj);
    }
    uint64_t made = calls() - before;
    for (size_t i = 0; i < count; i++)
        hak_free(objects[i]);
    return made * 1000 / OPERATIONS;
}

/* Within 1.5 times what is live. Where large objects rest in quarantine, each is unmapped, mapped and guarded, because
 * they rest without mapped memory and none goes to a new owner as it is (docs/decisions/012): three calls each. */
static void steady(void **state) {
    (void)state;
    unit_skip_where_reserved(); /* three calls each time */
    (void)hak_limit_set(LIMIT / 2 * 3);
    static const struct {
        size_t least, most;
        uint64_t calls, calls_guarded;
    } rows[] = {{16000, 60000, 10, 10},
                {70000, 250000, 20, 30},
                {300000, 300000, 10, 3100},
                {300000, 1500000, 200, 3100}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t made = replaced(rows[i].least, rows[i].most, LIMIT);
        print_message("%zu to %zu bytes: %u calls per 1,000 operations\n", rows[i].least, rows[i].most,
                      (unsigned)made);
        assert_true(made <= (HAK_POLICY_CLASS_BOUND ? rows[i].calls_guarded : rows[i].calls));
    }
}

/* A thread's stack is refused, as nothing can be mapped: what is held back goes. */
static void for_others(void **state) {
    (void)state;
    assert_false(hak_reclaim_for_others(HAK_MIB)); /* it was there all the time */
    assert_false(hak_reclaim_for_others(SIZE_MAX / 2));
    for (size_t i = 0; i < OBJECTS; i++)
        objects[i] = hak_malloc(1000);
    for (size_t i = 0; i < OBJECTS; i++)
        hak_free(objects[i]);
    (void)hak_os_fail_at(1 | HAK_OS_FAIL_ON);
    assert_false(hak_reclaim_for_others(HAK_MIB)); /* everything was tried */
    (void)hak_os_fail_at(0);
    hak_held held = {.own_bytes = 0};
    hak_policy_held(&held);
    assert_int_equal(hak_cache_held(), 0);
    assert_int_equal(held.slots[hak_class_of(1000)], 0);
    assert_int_equal(held.slots[hak_class_of(1000) + 1], 0); /* with a canary */
    (void)hak_limit_set(SIZE_MAX);
    assert_false(hak_reclaim_for_others(HAK_MIB)); /* no limit */
}

/* A limit is set when much is free already: by the program, whose call is seen, or from outside, which the next pass
 * over idle memory finds. */
static void by_the_program(void) {
    hak_reclaim_limited();
}
static void by_a_pass(void) {
    hak_idle_pass(hak_os_milliseconds() + HAK_IDLE_PERIOD_MS);
}
static void set_late(void (*look)(void)) {
    unit_skip_where_reserved();
    (void)hak_limit_set(SIZE_MAX);
    burst(20000, 30000000);
    burst(1000000, 40000000);
    size_t before = mapped_free();
    struct rlimit old, now;
    assert_int_equal(getrlimit(RLIMIT_DATA, &old), 0);
    now = old;
    now.rlim_cur = (rlim_t)1 << 36;
    if (hak_os_strict() || old.rlim_max < now.rlim_cur)
        skip();
    (void)hak_limit_look();
    assert_int_equal(setrlimit(RLIMIT_DATA, &now), 0);
    look();
    assert_int_equal(setrlimit(RLIMIT_DATA, &old), 0);
    assert_int_equal(hak_cache_held(), 0);
    for (unsigned k = 0; k < hak_regions_used; k++) /* what was mapped ahead has gone, too */
        assert_true(hak_regions[k].size == 0 || hak_regions[k].body.mapped == hak_regions[k].used);
    check_all();
    assert_true(before > 8 * HAK_MIB);
    assert_true(hak_limit_is_there());
    assert_true(mapped_free() < 4 * HAK_MIB);
    (void)hak_limit_look();
}
static void set_late_by_the_program(void **state) {
    (void)state;
    set_late(by_the_program);
}
static void set_late_from_outside(void **state) {
    (void)state;
    set_late(by_a_pass);
}

/* A heap that grows maps what it uses, up to the end of a superslab or of a granule, and nothing ahead. */
static void nothing_ahead(void **state) {
    (void)state;
    unit_skip_where_reserved();
    static const size_t sizes[] = {100, 3000, 100000, 300000, 1000000};
    enum { EACH = 800, MOST = 20 * HAK_MIB };
    size_t count = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (size_t made = 0; made < hak_min(EACH, MOST / sizes[i]); made++) {
            objects[count] = hak_malloc(sizes[i]);
            assert_non_null(objects[count++]);
            for (unsigned k = 0; k < hak_regions_used; k++) {
                const hak_region *region = &hak_regions[k];
                size_t most = region->kind == HAK_REGION_SLABS ? HAK_SUPERSLAB : HAK_GRANULE;
                if (region->size != 0 && region->body.mapped >= region->used + most)
                    fail_msg("%zu bytes: %zu mapped, %zu used", sizes[i], region->body.mapped,
                             (size_t)region->used);
            }
        }
    for (size_t i = 0; i < count; i++)
        hak_free(objects[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        LIMITED_CASE("the share of a limit, and what comes on top of it", shares),
        LIMITED_CASE("below 4 GiB wide slots rest nowhere", costly_slots),
        CASE("the OS is asked for the limit, which may come and go, unless it may mind", asked_of_the_os),
        LIMITED_CASE("what is freed is unmapped, but for a share", freed_goes),
        LIMITED_CASE("what is in use stays mapped", used_stays),
        CASE("a new slab is not among what goes for it", born_beside),
        LIMITED_CASE("what comes and goes in a steady state makes few calls of the OS", steady),
        LIMITED_CASE("for others nothing is given back in vain, and everything at last", for_others),
        CASE("a limit that the program sets late finds the free memory gone", set_late_by_the_program),
        CASE("so does one that is set from outside, when a pass has come by", set_late_from_outside),
        LIMITED_CASE("a heap that grows maps nothing ahead", nothing_ahead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
