/* slab_test.c: compares slots of one slab, taken and given in batches, with a plain array of their owners. */
#include "tests/unit/unit.h"

#include "allocator/heap/slab.h"
#include "allocator/policy.h"

#include <string.h>

enum { SLOTS_MAX = HAK_GRANULE / HAK_MIN_ALIGN };

static bool zeroed; /* what a slab says of its slots, where the test does not check it */

static const unsigned classes[] = {1, 2, 3, 16, 17, 50, 76, 77, 90, 125};

static void expect_slot(const hak_slab *slab, void *obj) {
    size_t offset = (uintptr_t)obj - slab->start;
    assert_int_equal(offset % hak_classes[slab->cls].size, 0);
    assert_true(offset / hak_classes[slab->cls].size < slab->slots);
}

/* Sets the slab's state as its depot would, which is not there. */
static void note_state(hak_slab *slab) {
    slab->state = slab->free == 0 ? HAK_SLAB_FULL : HAK_SLAB_PARTIAL;
}

static void all_slots_once(void **state) {
    (void)state;
    for (size_t c = 0; c < sizeof classes / sizeof classes[0]; c++) {
        hak_slab *slab = hak_superslab_take_slab(classes[c], 0);
        static void *objs[SLOTS_MAX + 64];
        static bool seen[SLOTS_MAX];
        memset(seen, 0, sizeof seen);
        unsigned taken = 0;
        for (unsigned want = 1; slab->free != 0; want = want % 60 + 7) {
            unsigned free = slab->free, got = hak_slab_take_batch(slab, objs + taken, want, &zeroed);
            assert_int_equal(got, hak_min(want, free));
            taken += got;
            note_state(slab);
            hak_slab_check(slab);
        }
        assert_int_equal(taken, hak_slab_all(slab));
        assert_int_equal(hak_slab_take_batch(slab, objs + taken, 5, &zeroed), 0);
        for (unsigned i = 0; i < taken; i++) {
            expect_slot(slab, objs[i]);
            size_t slot = ((uintptr_t)objs[i] - slab->start) / hak_classes[slab->cls].size;
            assert_false(seen[slot]);
            seen[slot] = true;
        }
        for (unsigned i = 0; i < taken; i++) {
            hak_slab_give(slab, objs[i]);
            note_state(slab);
            if (i % 16 == 0)
                hak_slab_check(slab);
        }
        assert_true(hak_slab_is_empty(slab));
        hak_superslab_give_slab(slab);
    }
}

static void random_walk(void **state) {
    (void)state;
    hak_slab *slab = hak_superslab_take_slab(4, 0);
    static void *live[SLOTS_MAX];
    unsigned count = 0;
    uint64_t seed = 9;
    for (int step = 0; step < 20000; step++) {
        if (unit_random(&seed) % 2 == 0) {
            count += hak_slab_take_batch(slab, live + count, (unsigned)(unit_random(&seed) % 40), &zeroed);
        } else
            for (unsigned n = (unsigned)(unit_random(&seed) % 40); n != 0 && count != 0; n--) {
                unsigned which = (unsigned)(unit_random(&seed) % count);
                hak_slab_give(slab, live[which]);
                live[which] = live[--count];
            }
        note_state(slab);
        assert_int_equal(slab->free + count, slab->slots);
        hak_slab_check(slab);
    }
}

static void lowest_first(void **state) {
    (void)state;
    hak_slab *slab = hak_superslab_take_slab(1, 0);
    if (HAK_POLICY_RANDOM_SLOTS)
        return; /* the variant draws them at random */
    void *objs[200];
    assert_int_equal(hak_slab_take_batch(slab, objs, 200, &zeroed), 200);
    for (unsigned i = 0; i < 200; i++)
        assert_int_equal((uintptr_t)objs[i], slab->start + i * 16);
    hak_slab_give(slab, objs[3]);
    hak_slab_give(slab, objs[150]);
    void *again[2];
    assert_int_equal(hak_slab_take_batch(slab, again, 2, &zeroed), 2);
    assert_ptr_equal(again[0], objs[3]);
    assert_ptr_equal(again[1], objs[150]);
}

/* Tests neighbours and lone slots alike, also where a draw seldom finds a free one. 8,000 draws of eight slots:
 * 1,000 each, with a standard deviation of 30; the bound of 200 is more than six of them. */
static void equally_likely(void **state) {
    (void)state;
    if (!HAK_POLICY_RANDOM_SLOTS)
        return; /* the lowest slot is next */
    static const uint32_t freed[] = {3, 4, 5, 6, 70, 71, 130, 250};
    enum { FREED = sizeof freed / sizeof freed[0], EACH = 1000 };
    hak_slab *slab = hak_superslab_take_slab(7, 0);
    const size_t size = hak_classes[7].size;
    static void *objs[SLOTS_MAX];
    assert_int_equal(hak_slab_take_batch(slab, objs, slab->slots, &zeroed), slab->slots);
    for (size_t i = 0; i < FREED; i++)
        hak_slab_give(slab, (void *)(slab->start + freed[i] * size));
    unsigned drawn[FREED] = {0};
    for (unsigned i = 0; i < FREED * EACH; i++) {
        void *obj;
        assert_int_equal(hak_slab_take_batch(slab, &obj, 1, &zeroed), 1);
        for (size_t k = 0; k < FREED; k++)
            drawn[k] += ((uintptr_t)obj - slab->start) / size == freed[k];
        hak_slab_give(slab, obj);
    }
    for (size_t k = 0; k < FREED; k++)
        assert_in_range(drawn[k], EACH - 200, EACH + 200);
}

/* Among `count` objects, counts the pairs whose second one lies `step` bytes behind the first. */
static unsigned neighbours(void *const *objs, unsigned count, intptr_t step) {
    unsigned found = 0;
    for (unsigned i = 1; i < count; i++)
        found += (intptr_t)objs[i] - (intptr_t)objs[i - 1] == step;
    return found;
}

enum { BATCH = 32, BATCHES = 4000 };

/* Takes batches from a slab in which every slot in `every` is free. *before and *after: how often the second of two
 * objects lies right before the first, or right behind it. True when batches began in each word of the bitmap. */
static bool take_batches(unsigned cls, unsigned every, unsigned *before, unsigned *after) {
    hak_slab *slab = hak_superslab_take_slab(cls, 0);
    if (slab->part_count != 0)
        slab = hak_superslab_take_slab(cls, 0);
    const intptr_t size = hak_classes[cls].size;
    static void *objs[SLOTS_MAX];
    static bool begun[HAK_BITMAP_WORDS];
    memset(begun, 0, sizeof begun);
    *before = *after = 0;
    assert_int_equal(hak_slab_take_batch(slab, objs, slab->slots, &zeroed), slab->slots);
    for (unsigned i = 0; i < slab->slots; i++)
        if (i % (2 * every) < 2) /* in pairs */
            hak_slab_give(slab, (void *)(slab->start + i * (size_t)size));
    for (unsigned i = 0; i < BATCHES; i++) {
        assert_int_equal(hak_slab_take_batch(slab, objs, BATCH, &zeroed), BATCH);
        *before += neighbours(objs, BATCH, -size);
        *after += neighbours(objs, BATCH, size);
        begun[((uintptr_t)objs[0] - slab->start) / (size_t)size / 64] = true;
        for (unsigned k = 0; k < BATCH; k++)
            hak_slab_give(slab, objs[k]);
    }
    bool all = true;
    for (unsigned w = 0; w < (slab->slots + 63) / 64; w++)
        all = all && begun[w];
    return all;
}

/* 124,000 pairs. With a window of 64 or more, at most one in 64: 1,938, with a standard deviation of 44. The bound
 * is one in 32. A batch begins in each word with a chance of more than 1 in 100. */
static void no_neighbours_in_a_row(void **state) {
    (void)state;
    if (!HAK_POLICY_RANDOM_SLOTS)
        return; /* addresses rise there */
    static const unsigned all_sizes[] = {1, 2, 5, 16, 24, 40};
    for (size_t c = 0; c < sizeof all_sizes / sizeof all_sizes[0]; c++)
        for (unsigned every = 1; every <= 2; every++) {
            unsigned before, after;
            assert_true(take_batches(all_sizes[c], every, &before, &after));
            assert_in_range(before, 1, BATCHES * (BATCH - 1) / 32);
            assert_in_range(after, 1, BATCHES * (BATCH - 1) / 32);
        }
}

/* A batch from a wholly free slab lies in one word of the bitmap, or in two where the last one is short. */
static void a_batch_lies_together(void **state) {
    (void)state;
    if (!HAK_POLICY_RANDOM_SLOTS)
        return; /* see lowest_first */
    hak_slab *slab = hak_superslab_take_slab(5, 0);
    void *objs[BATCH];
    for (unsigned batch = 0; batch < 1000; batch++) {
        uint64_t words = 0;
        assert_int_equal(hak_slab_take_batch(slab, objs, BATCH, &zeroed), BATCH);
        for (unsigned k = 0; k < BATCH; k++) {
            words |= (uint64_t)1 << ((uintptr_t)objs[k] - slab->start) / hak_classes[5].size / 64;
            hak_slab_give(slab, objs[k]);
        }
        assert_true(__builtin_popcountll(words) <= 2);
    }
}

typedef struct error {
    hak_slab *slab;
    uintptr_t obj;
} error;

static void make_error(void *arg) {
    const error *it = arg;
    hak_slab_blame(hak_slab_give(it->slab, (void *)it->obj), (void *)it->obj);
}

static void errors(void **state) {
    (void)state;
    for (size_t c = 0; c < sizeof classes / sizeof classes[0]; c++) {
        hak_slab *slab = hak_superslab_take_slab(classes[c], 0);
        if (slab->part_count != 0)
            slab = hak_superslab_take_slab(classes[c], 0);
        const size_t size = hak_classes[classes[c]].size;
        void *objs[3];
        assert_int_equal(hak_slab_take_batch(slab, objs, 3, &zeroed), 3);
        uintptr_t obj = (uintptr_t)objs[1], end = slab->start + (size_t)slab->slots * size;
        const uintptr_t interior[] = {obj + 1, obj + 8, obj + size / 2, obj + size - 1, obj - 1};
        for (size_t i = 0; i < sizeof interior / sizeof interior[0]; i++)
            unit_expect_death(make_error, &(error){slab, interior[i]}, "interior free: free(0x");
        if (end + size <= slab->start + hak_classes[classes[c]].slab_bytes)
            unit_expect_death(make_error, &(error){slab, end}, "interior free: free(0x"); /* the guard */
        hak_slab_give(slab, objs[1]);
        unit_expect_death(make_error, &(error){slab, obj}, "double free: free(0x");
    }
}

/* Slots without memory. */
static void errors_in_part(void **state) {
    (void)state;
    hak_slab *slab = hak_superslab_take_slab(90, 0);
    if (slab->part_count == 0)
        skip(); /* under a sanitizer */
    for (uint32_t slot = 0; slot < slab->slots; slot++)
        if (!hak_slab_has(slab, slot))
            unit_expect_death(make_error,
                              &(error){slab, slab->start + slot * (uintptr_t)hak_classes[90].size},
                              "interior free: free(0x");
}

static void walk(void *slab) {
    hak_slab_check(slab);
}

static void corruption(void **state) {
    (void)state;
    hak_slab *slab = hak_superslab_take_slab(7, 0);
    void *objs[100];
    assert_int_equal(hak_slab_take_batch(slab, objs, 100, &zeroed), 100);
    hak_slab_check(slab);
    for (unsigned word = 0; word < slab->slots / 64; word++)
        for (unsigned bit = 0; bit < 64; bit += 7) {
            slab->free_bits[word] ^= (uint64_t)1 << bit;
            unit_expect_death(walk, slab, "corrupt metadata");
            slab->free_bits[word] ^= (uint64_t)1 << bit;
        }
    for (unsigned bit = 0; bit < 32; bit++) {
        slab->free ^= (uint32_t)1 << bit;
        unit_expect_death(walk, slab, "count of free slots");
        slab->free ^= (uint32_t)1 << bit;
    }
    slab->state = HAK_SLAB_FULL;
    unit_expect_death(walk, slab, "full slab in the list");
    slab->state = HAK_SLAB_PARTIAL;
    slab->first = 4;
    unit_expect_death(walk, slab, "free slot before the first free word");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE("every slot of a slab is taken once, and comes back", all_slots_once),
        CASE("batches taken and given at random never lose or double a slot", random_walk),
        CASE("the lowest free slots are taken first, unless the variant draws them", lowest_first),
        CASE("where slots are drawn, every free one is as likely as the others", equally_likely),
        CASE("where slots are drawn, of two in a row one lies behind the other one time in 32 at most",
             no_neighbours_in_a_row),
        CASE("where slots are drawn, a batch lies together", a_batch_lies_together),
        CASE("a slot that has no memory is no object", errors_in_part),
        CASE("an interior address, the guard and a free slot are errors, by name", errors),
        CASE("a flipped bit of a slab's bookkeeping is found", corruption),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
