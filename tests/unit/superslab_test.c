/* superslab_test.c: slabs are cut from superslabs and given back; the walker runs after every step. */
#include "tests/unit/slabs.h"

#include "allocator/os/os.h"
#include "allocator/os/os_process.h"
#include "allocator/pages/tag.h"
#include "allocator/policy.h"

#include <string.h>

enum { SLABS = 120, STEPS = 2500 };

static void bitmaps_apart(void **state) {
    (void)state;
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++) {
        hak_slab *a = hak_superslab_take_slab(cls, 0), *b = hak_superslab_take_slab(cls, 0);
        assert_non_null(a);
        assert_non_null(b);
        size_t words = (hak_classes[cls].slots + 63) / 64;
        assert_true(a->free_bits + words <= b->free_bits || b->free_bits + words <= a->free_bits);
        hak_superslab_give_slab(b);
        hak_superslab_give_slab(a);
    }
}

static void every_class(void **state) {
    (void)state;
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++) {
        hak_slab *slab = hak_superslab_take_slab(cls, cls % 5);
        slab_expect(slab, cls, cls % 5);
        slab_touch(slab, 0x5a);
        hak_superslab_check();
        hak_superslab_give_slab(slab);
        hak_superslab_check();
        assert_int_equal(hak_superslabs_live, 0);
        assert_int_equal(hak_superslab_live_bytes, 0);
        if (!HAK_POLICY_CLASS_BOUND)
            assert_int_equal(hak_tag_of((void *)slab->start), HAK_TAG_NONE);
    }
}

static void many_slabs_split(void **state) {
    (void)state;
    enum { SPLIT_FROM = 16 };
    hak_slab *slabs[SPLIT_FROM];
    unsigned cls = hak_class_of(9 * HAK_KIB), half = cls - 1;
    assert_int_equal(hak_class_of(hak_classes[half].size), cls);
    unsigned count = slabs_take(slabs, SPLIT_FROM - 1, cls);
    assert_int_equal(hak_class_of(hak_classes[half].size), cls);
    (void)slabs_take(slabs + count, 1, cls);
    assert_int_equal(hak_class_of(hak_classes[half].size), half);
    for (unsigned i = 0; i < SPLIT_FROM; i++)
        hak_superslab_give_slab(slabs[i]);
}

static void random_walk(void **state) {
    (void)state;
    static hak_slab *slabs[SLABS];
    uint64_t seed = 4;
    memset(slabs, 0, sizeof slabs);
    for (int step = 0; step < STEPS; step++) {
        hak_slab **slab = &slabs[unit_random(&seed) % SLABS];
        if (*slab != NULL) {
            hak_superslab_give_slab(*slab);
            *slab = NULL;
        } else {
            unsigned cls = 1 + (unsigned)(unit_random(&seed) % HAK_CLASSES);
            *slab = hak_superslab_take_slab(cls, 0);
            slab_expect(*slab, cls, 0);
        }
        if (step % 500 == 499)
            (void)hak_superslab_purge(step % 1000 == 999 ? 0 : HAK_MIB);
        hak_superslab_check(); /* finds overlaps, wrong tags and wrong counters */
    }
    for (int i = 0; i < SLABS; i++)
        if (slabs[i] != NULL)
            hak_superslab_give_slab(slabs[i]);
    hak_superslab_check();
    assert_int_equal(hak_superslab_live_bytes, 0);
    assert_int_equal(hak_superslabs_live, 0);
}

static void taken_again(void **state) {
    (void)state;
    for (unsigned granules = 1; granules <= 32; granules *= 2) {
        unsigned cls = slab_class_with(granules);
        hak_slab *first = hak_superslab_take_slab(cls, 0), *second = hak_superslab_take_slab(cls, 0);
        for (int i = 0; i < 10; i++) { /* the count of superslabs stays right over many lives */
            hak_superslab_give_slab(first);
            hak_superslab_give_slab(second);
            hak_superslab_check();
            assert_int_equal(hak_superslabs_live, 0);
            first = hak_superslab_take_slab(cls, 0);
            second = hak_superslab_take_slab(cls, 0);
            hak_superslab_check();
        }
        hak_superslab_give_slab(first);
        hak_superslab_give_slab(second);
    }
}

static void dense(void **state) {
    (void)state;
    if (HAK_POLICY_CLASS_BOUND)
        return; /* free slabs wait for their class there */
    unsigned one = slab_class_with(1);
    hak_slab *slabs[32];
    for (int i = 0; i < 32; i++)
        slabs[i] = hak_superslab_take_slab(one, 0);
    assert_int_equal(hak_superslabs_live, 1); /* 32 granules fill one superslab */
    for (int i = 0; i < 32; i += 2)
        hak_superslab_give_slab(slabs[i]);
    for (unsigned granules = 2; granules <= 32; granules *= 2) { /* no such run is free there */
        hak_slab *slab = hak_superslab_take_slab(slab_class_with(granules), 0);
        assert_int_equal(hak_superslabs_live, 2);
        hak_superslab_give_slab(slab);
        hak_superslab_check();
    }
    for (int i = 0; i < 32; i += 2)
        assert_int_equal(hak_superslab_take_slab(one, 0)->start / HAK_SUPERSLAB,
                         slabs[1]->start / HAK_SUPERSLAB);
    hak_superslab_check();
}

static void prewarmed(void **state) {
    (void)state;
    assert_true(hak_superslab_prewarm(3));
    hak_superslab_check();
    assert_int_equal(hak_superslab_free_dirty, 3 * HAK_SUPERSLAB);
    assert_int_equal(hak_superslabs_live, 0);
    uint64_t calls = hak_os_counts.mmap + hak_os_counts.mprotect;
    hak_slab *slab = hak_superslab_take_slab(slab_class_with(1), 0);
    hak_superslab_check();
    assert_int_equal(hak_superslab_free_dirty, 3 * HAK_SUPERSLAB - HAK_GRANULE);
    if (!HAK_POLICY_CLASS_BOUND) /* the other policy may need memory of its own for a slab */
        assert_int_equal(hak_os_counts.mmap + hak_os_counts.mprotect, calls);
    hak_superslab_give_slab(slab);
    assert_int_equal(hak_superslab_purge(0), 3 * HAK_SUPERSLAB);
    (void)hak_os_fail_at(1 | HAK_OS_FAIL_ON);
    assert_false(hak_superslab_prewarm(100));
    (void)hak_os_fail_at(0);
    hak_superslab_check();
}

static void refusals(void **state) {
    (void)state;
    for (uint64_t k = 1;; k++) {
        hak_test_reset(HAK_RESET_FRESH);
        (void)hak_os_fail_at(k);
        hak_slab *slab = hak_superslab_take_slab(slab_class_with(2), 0);
        if (hak_os_fail_at(0) < k)
            break;
        hak_superslab_check();
        if (slab == NULL)
            slab = hak_superslab_take_slab(slab_class_with(2), 0);
        slab_expect(slab, slab_class_with(2), 0);
        hak_superslab_check();
    }
}

/* A wide slab takes half of a superslab. The first of the small slabs that fill the rest may lie in any granule; in
 * the speed variant it lies in the first. */
static void every_place(void **state) {
    (void)state;
    enum { HALF = 16, ROUNDS = 400 };
    unsigned wide = slab_class_with(HALF), small = slab_class_with(1), counts[HALF] = {0};
    for (unsigned round = 0; round < ROUNDS; round++) {
        uintptr_t taken = hak_superslab_take_slab(wide, 0)->start;
        uintptr_t free = taken % HAK_SUPERSLAB == 0 ? taken + HALF * HAK_GRANULE : taken - HALF * HAK_GRANULE;
        for (unsigned i = 0; i < HALF; i++) {
            uintptr_t place = (hak_superslab_take_slab(small, 0)->start - free) / HAK_GRANULE;
            assert_in_range(place, 0, HALF - 1);
            counts[place] += i == 0;
        }
    }
    /* The mean is 25; a count below 3 occurs once in 10^7 runs. */
    for (unsigned i = 0; i < HALF; i++)
        assert_in_range(counts[i], HAK_POLICY_RANDOM_SLOTS ? 3 : i == 0 ? ROUNDS : 0, ROUNDS);
    hak_test_reset(HAK_RESET_FRESH);
}

/* The OS refuses all calls from call `k` on: exactly the slabs that were taken are in use, also when it was the
 * policy that had no memory. */
static void refused_from_then_on(void **state) {
    (void)state;
    enum { CALLS = 40, MOST = 200 };
    const unsigned cls = 1; /* the class with the most records */
    for (uint64_t k = 1; k <= CALLS; k++) {
        hak_slab *slabs[MOST];
        size_t had = 0;
        hak_test_reset(HAK_RESET_FRESH);
        (void)hak_os_fail_at(k | HAK_OS_FAIL_ON);
        while (had < MOST && (slabs[had] = hak_superslab_take_slab(cls, 0)) != NULL)
            had++;
        (void)hak_os_fail_at(0);
        hak_superslab_check();
        assert_int_equal(hak_superslab_live_bytes, had * hak_classes[cls].slab_bytes);
        while (had-- > 0)
            hak_superslab_give_slab(slabs[had]);
        assert_int_equal(hak_superslabs_live, 0);
    }
}

static void give_live(void *slab) {
    ((hak_slab *)slab)->free--;
    hak_superslab_give_slab(slab);
}
static void walk(void *unused) {
    (void)unused;
    hak_superslab_check();
}
static void take_64k(void *unused) {
    (void)unused;
    (void)hak_superslab_take_slab(slab_class_with(1), 0);
}

static void corruption(void **state) {
    (void)state;
    hak_slab *slab = hak_superslab_take_slab(slab_class_with(2), 0);
    hak_superslab *superslab = (hak_superslab *)hak_align_down((uintptr_t)slab, 4096);
    unit_expect_death(give_live, slab, "a slab with live objects was given back");
    for (unsigned bit = 0; bit < 32; bit++) { /* each bit of the masks that describe slabs in use */
        superslab->used_mask ^= (uint32_t)1 << bit;
        unit_expect_death(walk, NULL, "granules of slabs in use");
        superslab->used_mask ^= (uint32_t)1 << bit;
    }
    superslab->order ^= 1;
    unit_expect_death(walk, NULL, "corrupt metadata");
    superslab->order ^= 1;
    slab->start += HAK_GRANULE;
    unit_expect_death(walk, NULL, "slab start");
    slab->start -= HAK_GRANULE;
    hak_tag_set(slab->start, HAK_GRANULE, HAK_TAG_NONE);
    unit_expect_death(walk, NULL, "slab tag");
    hak_tag_set(slab->start, HAK_GRANULE, slab->cls);
    uint32_t mask = superslab->free_mask;
    superslab->free_mask = superslab->dirty_mask = 0; /* the list claims a free run */
    unit_expect_death(take_64k, NULL, "superslab in a list of free runs has none");
    superslab->free_mask = mask;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE("the bitmaps of two slabs of a class lie apart", bitmaps_apart),
        CASE("a slab of every class is aligned, tagged, found and given back", every_class),
        CASE("slabs of random classes, taken and given back, never overlap", random_walk),
        CASE("slabs that come and go many times leave every counter right", taken_again),
        CASE("a run that is large enough is found where there is one, and a new superslab taken where not",
             dense),
        CASE("a class of sixteen slabs is split", many_slabs_split),
        CASE("of the places that a superslab has for a slab each is as likely as the others", every_place),
        CASE("a slab for which the OS has no more memory is not in use", refused_from_then_on),
        CASE("prewarmed superslabs are resident, counted, and used first", prewarmed),
        CASE("a refusal of the OS at any step leaves everything consistent", refusals),
        CASE("a slab with live objects, or a corrupt descriptor, ends the process", corruption),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
