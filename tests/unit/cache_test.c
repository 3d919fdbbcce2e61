/* cache_test.c: the bins of a thread's cache, its first call and its last. */
#include "tests/unit/bins.h"
#include "tests/unit/unit.h"

#include "allocator/cache/cache_own.h"
#include "allocator/os/os.h"
#include "allocator/os/os_process.h"
#include "allocator/pages/release.h"
#include "allocator/pages/tag.h"
#include "allocator/policy.h"
#include "include/hakmem.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

static void check_all(void) {
    hak_cache_check();
    hak_depot_check();
    hak_superslab_check();
}

static void last_in_first_out(void **state) {
    (void)state;
    void *a = bin_take(5), *b = bin_take(5);
    bin_give(a, 5);
    bin_give(b, 5);
    assert_ptr_equal(bin_take(5), b);
    assert_ptr_equal(bin_take(5), a);
    bin_give(a, 5);
    bin_give(b, 5);
    check_all();
}

/* In the hardened variant the order is random: 200 slots are not in order. */
static void addresses_go_up(void **state) {
    (void)state;
    enum { COUNT = 200 };
    static void *objs[COUNT];
    hak_test_reset(HAK_RESET_FRESH);
    unsigned in_order = 0;
    for (unsigned i = 0; i < COUNT; i++) {
        objs[i] = bin_take(5);
        in_order += i > 0 && (uintptr_t)objs[i] == (uintptr_t)objs[i - 1] + hak_classes[5].size;
    }
    if (HAK_POLICY_RANDOM_SLOTS)
        assert_true(in_order < COUNT / 4);
    else
        assert_int_equal(in_order, COUNT - 1);
    for (unsigned i = 0; i < COUNT; i++)
        bin_give(objs[i], 5);
    check_all();
}

static void every_class(void **state) {
    (void)state;
    static void *objs[400];
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++) {
        unsigned count = hak_classes[cls].size > 65536 ? 20 : 400;
        for (unsigned i = 0; i < count; i++) {
            objs[i] = bin_take(cls);
            assert_int_equal(hak_tag_of(objs[i]), cls);
            memcpy(objs[i], &objs[i], sizeof objs[i]);
        }
        for (unsigned i = 0; i < count; i++) {
            assert_memory_equal(objs[i], &objs[i], sizeof objs[i]);
            bin_give(objs[i], cls);
            assert_true((uint32_t)(hak_cache_mine->end[cls] - hak_cache_mine->top[cls]) <=
                        hak_classes[cls].bin_cap);
        }
        check_all();
    }
    hak_cache_flush_all();
    check_all();
    hak_depot_trim();
    assert_int_equal(hak_superslab_live_bytes, 0);
    assert_int_equal(hak_cache_objects(), 0);
}

static hak_cache *served; /* the last thread */

static void *thread_uses(void *unused) {
    (void)unused;
    hak_free(hak_malloc(100));
    size_t live = hak_caches_live;
    served = hak_cache_mine;
    hak_cache_end();
    void *obj = hak_malloc(100); /* as in a destructor that runs later */
    memset(obj, 1, 100);
    hak_free(obj);
    hak_cache_check();
    return (void *)(live - hak_caches_live);
}

static void after_the_last_call(void **state) {
    (void)state;
    size_t live = hak_caches_live, objects = hak_cache_objects();
    hak_cache *first = NULL;
    for (int i = 0; i < 20; i++) {
        pthread_t thread;
        void *ended;
        assert_int_equal(pthread_create(&thread, NULL, thread_uses, NULL), 0);
        pthread_join(thread, &ended);
        assert_int_equal((uintptr_t)ended, 1);
        if (i == 0)
            first = served;
        assert_ptr_equal(served, first); /* one cache served all twenty, one after the other */
    }
    assert_int_equal(hak_caches_live, live);
    if (!HAK_POLICY_CLASS_BOUND) /* otherwise a quarantine may hold objects back */
        assert_int_equal(hak_cache_objects(), objects);
    check_all();
}

/* In the hardened variant freed large objects are shut, so this test adds nothing there. */
static void small_requests_alone(void **state) {
    (void)state;
    enum { LARGE = 100 * HAK_MIB, SMALL = 20000, SIZE = 500 };
    static void *objs[SMALL];
    void *large = hak_malloc(LARGE);
    memset(large, 1, LARGE);
    hak_free(large);
    usleep(700 * 1000);
    for (int i = 0; i < SMALL; i++)
        objs[i] = hak_malloc(SIZE);
    for (int i = 0; i < SMALL; i++)
        hak_free(objs[i]);
    assert_true(hak_release_large_dirty < LARGE);
    check_all();
}

static void *without_memory(void *unused) {
    (void)unused;
    (void)hak_os_fail_at(1 | HAK_OS_FAIL_ON); /* no cache for this thread */
    void *obj = hak_malloc(64);
    if (obj != NULL) {
        memset(obj, 1, 64);
        hak_free(obj);
    }
    (void)hak_os_fail_at(0);
    void *later = hak_malloc(64);
    hak_free(later);
    return later;
}

static void no_memory_for_a_cache(void **state) {
    (void)state;
    pthread_t thread;
    void *later;
    assert_int_equal(pthread_create(&thread, NULL, without_memory, NULL), 0);
    pthread_join(thread, &later);
    assert_non_null(later);
    check_all();
}

static void walk(void *unused) {
    (void)unused;
    hak_cache_check();
}

/* The thread whose slabs split a class learns of the split at one of its next slow calls. */
static void hears_of_splits(void **state) {
    (void)state;
    enum { SIZE = 530, HALF = 544, WHOLE = 576, MOST = 40000 };
    static void *objs[MOST];
    int count = 0;
    unsigned need = (unsigned)hak_policy_request(SIZE);
    assert_int_equal(hak_classes[hak_cache_mine->fine[need]].size, WHOLE);
    while (count < MOST && hak_classes[hak_cache_mine->fine[need]].size == WHOLE)
        assert_non_null(objs[count++] = hak_malloc(SIZE));
    assert_int_equal(hak_classes[hak_cache_mine->fine[need]].size, HALF);
    while (count > 0)
        hak_free(objs[--count]);
    check_all();
}

static void corruption(void **state) {
    (void)state;
    void *a = bin_take(5);
    bin_give(a, 5);
    void ***top = &hak_cache_mine->top[5], ***end = &hak_cache_mine->end[5];
    **top = (char *)a + 1; /* an entry that is no object, or an object of another class */
    **top = NULL;
    unit_expect_death(walk, NULL, "tag of cached object");
    **top = a;
    *top = *end + 1;
    unit_expect_death(walk, NULL, "bounds of bin");
    *top = *end - 1000;
    unit_expect_death(walk, NULL, "bounds of bin");
    hak_test_reset(HAK_RESET_FRESH);
    void **none = hak_cache_mine->top[HAK_TAG_NONE];
    hak_cache_mine->top[HAK_TAG_NONE] = none + 1;
    unit_expect_death(walk, NULL, "static bin was changed");
    hak_cache_mine->top[HAK_TAG_NONE] = none;
    hak_cache_check();
}

/* Fills all bins of the calling thread as far as they may be. Unused bins shrink meanwhile. */
static void fill_bin(unsigned cls) {
    enum { MOST = 64, ROUNDS = 3 };
    void *objs[MOST];
    for (int round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < hak_classes[cls].bin_cap; i++)
            objs[i] = bin_take(cls);
        for (unsigned i = 0; i < hak_classes[cls].bin_cap; i++)
            bin_give(objs[i], cls);
    }
}
static void fill_all_bins(void) {
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
        fill_bin(cls);
}

static size_t places(unsigned cls) {
    return (size_t)(hak_cache_mine->end[cls] - hak_cache_base(hak_cache_mine, cls));
}

/* A bin's first room is for 16 objects or 16 KiB; at most it has 512 KiB, or 4 objects, and never more than 64. */
static void room_of_a_bin(void **state) {
    (void)state;
    const struct {
        size_t size, first, most;
    } rows[] = {{16, 16, 64}, {1024, 16, 64}, {4096, 4, 64}, {8192, 2, 64}, {65536, 1, 8}, {262144, 1, 4}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        unsigned cls = hak_class_of(rows[i].size);
        void *obj = bin_take(cls);
        hak_cache_flush_all();
        assert_int_equal(places(cls), 0);
        bin_give(obj, cls);
        assert_int_equal(places(cls), rows[i].first);
        assert_int_equal(hak_classes[cls].bin_cap, rows[i].most);
    }
}

/* The bins of one thread have 8 MiB at most. Those of all threads have 16 MiB, or 1 MiB a shard if that is more, and
 * each thread 192 KiB in any case. */
enum { ROOMS = 40 };
static pthread_barrier_t filled;
static void *fills_bins(void *rooms) {
    assert_true(hak_cache_begin());
    fill_all_bins();
    *(size_t *)rooms = hak_cache_mine->room;
    pthread_barrier_wait(&filled);
    pthread_barrier_wait(&filled);
    hak_cache_flush_all();
    fill_bin(hak_class_of(1024)); /* 64 KiB */
    *(size_t *)rooms = places(hak_class_of(1024));
    pthread_barrier_wait(&filled);
    hak_cache_end();
    return NULL;
}
static void rooms_are_bounded(void **state) {
    (void)state;
    const size_t thread_most = 8 * HAK_MIB, always = 192 * HAK_KIB,
                 all = hak_max(16 * HAK_MIB, hak_shards * HAK_MIB);
    pthread_t threads[ROOMS];
    size_t rooms[ROOMS], sum = 0;
    hak_cache_flush_all();
    fill_all_bins();
    assert_in_range(hak_cache_mine->room, 1, thread_most);
    hak_cache_flush_all();
    assert_int_equal(hak_cache_room, 0);
    pthread_barrier_init(&filled, NULL, ROOMS + 1);
    for (int i = 0; i < ROOMS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, fills_bins, &rooms[i]), 0);
    pthread_barrier_wait(&filled);
    assert_in_range(hak_cache_room, 1, all + ROOMS * always);
    for (int i = 0; i < ROOMS; i++) {
        assert_in_range(rooms[i], 0, thread_most);
        sum += rooms[i];
    }
    assert_int_equal(hak_cache_room, sum);
    atomic_fetch_add(&hak_cache_room, all); /* as if still others had all that there is */
    pthread_barrier_wait(&filled);
    pthread_barrier_wait(&filled);
    for (int i = 0; i < ROOMS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(rooms[i], 64);
    }
    assert_int_equal(hak_cache_room, all);
    atomic_fetch_sub(&hak_cache_room, all);
    check_all();
}

/* A cache for a partition has 24 KiB in any case. */
static void room_for_a_partition(void **state) {
    (void)state;
    enum { MOST = 64, ROUNDS = 3 };
    if (HAK_POLICY_PARTITIONS == 0)
        skip();
    void *objs[MOST];
    unsigned cls = hak_class_of(1024);
    assert_true(hak_cache_begin());
    atomic_fetch_add(&hak_cache_room, 1024 * HAK_MIB);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < MOST; i++)
            assert_non_null(objs[i] = hak_cache_refill_typed(1, cls));
        for (int i = 0; i < MOST; i++)
            hak_cache_give_typed(1, objs[i], cls);
    }
    assert_in_range(hak_cache_typed(1)->room, 8 * HAK_KIB, 24 * HAK_KIB);
    atomic_fetch_sub(&hak_cache_room, 1024 * HAK_MIB);
}

/* malloc_trim leaves a cache whose thread has ended no memory for its bins. */
static void *fills_and_ends(void *cache) {
    assert_true(hak_cache_begin());
    fill_all_bins();
    *(hak_cache **)cache = hak_cache_mine;
    hak_cache_end();
    return NULL;
}
static void trimmed_cache_has_no_memory(void **state) {
    (void)state;
    enum { PAGES = 4 };
    pthread_t thread;
    hak_cache *cache;
    if (!hak_os_resident_told() || hak_os_page != 4096)
        skip();
    assert_int_equal(pthread_create(&thread, NULL, fills_and_ends, &cache), 0);
    pthread_join(thread, NULL);
    uintptr_t entries = hak_align_up((uintptr_t)cache->entries, hak_os_page);
    assert_int_not_equal(hak_os_resident(entries, PAGES), 0);
    (void)hak_trim(0);
    assert_int_equal(hak_os_resident(entries, PAGES), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE("the object that was freed last is handed out first", last_in_first_out),
        CASE("what a thread allocates in a row lies in a row, upwards, unless slots are drawn at random",
             addresses_go_up),
        CASE("bins of every class fill, spill and empty without losing an object", every_class),
        CASE("a bin's first room and its most", room_of_a_bin),
        CASE("the bins of a thread, and of all threads, have a bound", rooms_are_bounded),
        CASE("that for a partition has little in any case", room_for_a_partition),
        CASE("malloc_trim leaves a cache that waits for a thread no memory", trimmed_cache_has_no_memory),
        CASE("small requests alone give back large memory that lies idle", small_requests_alone),
        CASE("a thread that has ended its cache may still allocate, and its cache serves the next",
             after_the_last_call),
        CASE("a thread for whose cache there is no memory gets one later", no_memory_for_a_cache),
        CASE("when a class is split a thread hears of it", hears_of_splits),
        CASE("a bin whose bounds or entries were changed is found", corruption),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
