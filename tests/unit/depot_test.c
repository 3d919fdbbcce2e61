/* depot_test.c: batches from and to depots, across shards; the walkers run after every step. */
#include "tests/unit/unit.h"

#include "allocator/heap/depot.h"
#include "allocator/os/os.h"
#include "allocator/pages/mapped_limit.h"
#include "allocator/pages/tag.h"
#include "allocator/policy.h"

#include <string.h>

enum { BATCH = 64, LIVE_MAX = 20000 };

static void *live[LIVE_MAX];
static uint64_t seed;
static uint64_t draw(uint64_t below) {
    return unit_random(&seed) % below;
}

static void check_all(void) {
    hak_depot_check();
    hak_superslab_check();
}

/* The word in each live object is its index in live[]. */
static unsigned take(unsigned shard, unsigned cls, unsigned count, unsigned want) {
    unsigned got = hak_depot_take_batch(shard, cls, live + count, want);
    assert_true(got >= 1 && got <= want);
    for (unsigned i = count; i < count + got; i++) {
        assert_int_equal(hak_tag_of(live[i]), cls);
        assert_int_equal(hak_slab_find((uintptr_t)live[i], cls)->shard, shard);
        memcpy(live[i], &live[i], sizeof live[i]);
    }
    return count + got;
}

static unsigned give(unsigned shard, unsigned cls, unsigned count, unsigned n) {
    n = n < count ? n : count;
    for (unsigned i = 0; i < n; i++) { /* random objects to the end */
        unsigned which = (unsigned)draw(count - i);
        void *obj = live[which];
        live[which] = live[count - 1 - i];
        live[count - 1 - i] = obj;
        assert_memory_equal(obj, &obj, sizeof obj); /* nobody else had it */
    }
    hak_depot_give_batch(shard, cls, live + count - n, n);
    return count - n;
}

static void random_walk(void **state) {
    (void)state;
    static const size_t sizes[] = {16, 80, 896, 8192, 20480, HAK_SLAB_SIZE_MAX};
    seed = 8;
    for (size_t c = 0; c < sizeof sizes / sizeof sizes[0]; c++) {
        unsigned cls = hak_class_of(sizes[c]), count = 0, most = sizes[c] > 100000 ? 100 : 5000;
        for (int step = 0; step < 1500; step++) {
            unsigned shard = (unsigned)draw(hak_shards), n = 1 + (unsigned)draw(BATCH);
            if (count + n < most && draw(100) < 55)
                count = take(shard, cls, count, n);
            else
                count = give(shard, cls, count, n);
            if (step % 50 == 0)
                check_all();
            if (step % 500 == 0)
                hak_depot_trim();
        }
        while (count != 0)
            count = give(0, cls, count, BATCH);
        hak_depot_trim();
        check_all();
        assert_int_equal(hak_superslab_live_bytes, 0); /* nothing is left behind */
    }
}

static void home_shards(void **state) {
    (void)state;
    if (hak_shards < 2)
        return;
    unsigned count = take(0, 4, 0, 30);
    count = take(1, 4, count, 30);
    unsigned all = count;
    count = give(1, 4, count, all); /* one batch with objects of both */
    assert_int_equal(count, 0);
    check_all();
    hak_depot_trim();
    assert_int_equal(hak_superslab_live_bytes, 0);
}

static void one_slab_kept(void **state) {
    (void)state;
    const unsigned cls = hak_class_of(8 * HAK_KIB); /* few slots a slab */
    unsigned count = take(0, cls, 0, 4);
    size_t first = hak_superslab_live_bytes,
           others = hak_classes[cls].slab_bytes; /* the first may be smaller */
    while (hak_superslab_live_bytes < 10 * others)
        count = take(0, cls, count, 4);
    while (count != 0)
        count = give(0, cls, count, 4);
    check_all();
    size_t kept = hak_superslab_live_bytes;
    assert_int_equal(kept, kept < others ? first : others);
    hak_depot_trim();
    assert_int_equal(hak_superslab_live_bytes, 0);
}

static void refusals(void **state) {
    (void)state;
    for (uint64_t k = 1;; k++) {
        hak_test_reset(HAK_RESET_FRESH);
        (void)hak_os_fail_at(k);
        unsigned got = hak_depot_take_batch(0, 3, live, 10);
        bool over = hak_os_fail_at(0) < k;
        check_all();
        hak_depot_give_batch(0, 3, live, got);
        check_all();
        if (over)
            break;
        assert_true(hak_depot_take_batch(0, 3, live, 10) >= 1);
    }
    hak_test_reset(HAK_RESET_FRESH);
    (void)hak_os_fail_at(1 | HAK_OS_FAIL_ON);
    assert_int_equal(hak_depot_take_batch(0, 3, live, 10), 0);
    (void)hak_os_fail_at(0);
}

static void give_one(void *obj) {
    hak_depot_give_batch(0, 3, &obj, 1);
}

static void errors(void **state) {
    (void)state;
    assert_int_equal(hak_depot_take_batch(0, 3, live, 8), 8);
    static char foreign[256] __attribute__((aligned(16)));
    hak_depot_give_batch(0, 3, live, 1);
    void *freed = hak_slab_find((uintptr_t)live[0], 3) != NULL ? live[0] : NULL;
    unit_expect_death(give_one, freed, "double free");
    unit_expect_death(give_one, (char *)live[1] + 16, "interior free");
    unit_expect_death(give_one, foreign, "cached object has no slab");
    void *other;
    assert_int_equal(hak_depot_take_batch(0, 9, &other, 1), 1);
    unit_expect_death(give_one, other, "corrupt metadata"); /* of another class */
}

static void walk(void *unused) {
    (void)unused;
    hak_depot_check();
}

static void trim(void *unused) {
    (void)unused;
    hak_depot_trim();
}

static void corruption(void **state) {
    (void)state;
    assert_int_equal(hak_depot_take_batch(0, 3, live, 8), 8);
    hak_slab *slab = hak_slab_find((uintptr_t)live[0], 3);
    slab->shard ^= 1;
    unit_expect_death(walk, NULL, "slab in the list of another depot");
    slab->shard ^= 1;
    slab->state = HAK_SLAB_FULL;
    unit_expect_death(walk, NULL, "is not partial");
    slab->state = HAK_SLAB_PARTIAL;
    hak_depot_give_batch(0, 3, live, 8);
    slab->link.next->prev = &slab->link + 1;
    unit_expect_death(trim, NULL, "list links do not agree");
    slab->link.next->prev = &slab->link;
}

/* A depot keeps an empty slab of up to 512 KiB, under a limit of 64 KiB. */
static void which_empty_slabs_stay(void **state) {
    (void)state;
    for (int limited = 0; limited < 2; limited++) {
        (void)hak_limit_set(limited ? 64 * HAK_MIB : SIZE_MAX);
        for (unsigned cls = 1; cls <= HAK_CLASSES; cls++) {
            void *obj;
            hak_depot_trim();
            assert_int_equal(hak_superslab_live_bytes, 0);
            assert_int_equal(hak_depot_take_batch(0, cls, &obj, 1), 1);
            hak_depot_give_batch(0, cls, &obj, 1);
            bool stays = hak_superslab_live_bytes != 0;
            if (stays != (hak_classes[cls].slab_bytes <= (limited ? 64 : 512) * HAK_KIB))
                fail_msg("%u bytes, limited %d: %d", hak_classes[cls].size, limited, stays);
        }
    }
    hak_depot_trim();
    (void)hak_limit_set(SIZE_MAX);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE("an empty slab of up to 512 KiB stays, under a limit of 64 KiB", which_empty_slabs_stay),
        CASE("objects of every shard, taken and given at random, are nobody else's and all come home",
             random_walk),
        CASE("a batch with objects of several shards goes home to each", home_shards),
        CASE("a depot keeps one empty slab, and none after a trim", one_slab_kept),
        CASE("a refusal of the OS at any step gives nothing or something, and nothing is lost", refusals),
        CASE("what is no object of the class ends the process, by name", errors),
        CASE("a slab in the wrong list, or broken links, end the process", corruption),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
