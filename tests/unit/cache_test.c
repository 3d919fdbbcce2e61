/* cache_test.c: the bins of a thread's cache, its first call and its last. */
#include "tests/unit/unit.h"

#include "allocator/cache.h"
#include "allocator/os.h"
#include "allocator/policy.h"
#include "allocator/release.h"
#include "allocator/tag.h"
#include "include/hakmem.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

static void check_all(void) {
    hak_cache_check();
    hak_depot_check();
    hak_superslab_check();
}

/* An object straight from the bin, below the policy. */
static void *take(unsigned cls) {
    void *obj = hak_cache_pop(hak_cache_mine, cls);
    return obj != NULL ? obj : hak_cache_refill_slow(cls);
}
static void give(void *obj, unsigned cls) {
    if (!hak_cache_push(hak_cache_mine, obj, cls))
        hak_cache_flush_slow(obj, cls);
}

static void last_in_first_out(void **state) {
    (void)state;
    void *a = take(5), *b = take(5);
    give(a, 5);
    give(b, 5);
    assert_ptr_equal(take(5), b);
    assert_ptr_equal(take(5), a);
    give(a, 5);
    give(b, 5);
    check_all();
}

static void every_class(void **state) {
    (void)state;
    static void *objs[400];
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++) {
        unsigned count = hak_classes[cls].size > 65536 ? 20 : 400;
        for (unsigned i = 0; i < count; i++) {
            objs[i] = take(cls);
            assert_int_equal(hak_tag_of(objs[i]), cls);
            memcpy(objs[i], &objs[i], sizeof objs[i]);
        }
        for (unsigned i = 0; i < count; i++) {
            assert_memory_equal(objs[i], &objs[i], sizeof objs[i]);
            give(objs[i], cls);
            assert_true((uint32_t)(hak_cache_mine->end[cls] - hak_cache_mine->top[cls]) <=
                        hak_classes[cls].bin_cap);
        }
        check_all();
    }
    hak_cache_flush_all();
    check_all();
    hak_depot_trim();
    assert_int_equal(hak_superslab_live_bytes, 0);
    assert_int_equal(hak_cache_objects, 0);
}

static void *thread_uses(void *unused) {
    (void)unused;
    hak_free(hak_malloc(100));
    size_t live = hak_caches_live;
    hak_cache_end();
    void *obj = hak_malloc(100); /* as in a destructor that runs later */
    memset(obj, 1, 100);
    hak_free(obj);
    hak_cache_check();
    return (void *)(live - hak_caches_live);
}

static void after_the_last_call(void **state) {
    (void)state;
    size_t live = hak_caches_live, objects = hak_cache_objects;
    uint64_t maps = 0;
    for (int i = 0; i < 20; i++) {
        pthread_t thread;
        void *ended;
        assert_int_equal(pthread_create(&thread, NULL, thread_uses, NULL), 0);
        pthread_join(thread, &ended);
        assert_int_equal((uintptr_t)ended, 1);
        if (i == 0)
            maps = hak_os_counts.mmap;
    }
    assert_int_equal(hak_caches_live, live);
    if (!HAK_POLICY_CLASS_BOUND) /* else a quarantine may hold objects back */
        assert_int_equal(hak_cache_objects, objects);
    assert_int_equal(hak_os_counts.mmap, maps); /* one cache served all twenty, one after the other */
    check_all();
}

/* On the hardened variant freed large objects are shut, so that this says nothing new there. */
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

static void corruption(void **state) {
    (void)state;
    void *a = take(5);
    give(a, 5);
    void ***top = &hak_cache_mine->top[5], ***end = &hak_cache_mine->end[5];
    **top = (char *)a + 1; /* an entry that is no object at all, or one of another class */
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

int main(void) {
    const struct CMUnitTest tests[] = {
        SENTENCE("the object that was freed last is handed out first", last_in_first_out),
        SENTENCE("bins of every class fill, spill and empty without losing an object", every_class),
        SENTENCE("small requests alone give back large memory that lies idle", small_requests_alone),
        SENTENCE("a thread that has ended its cache may still allocate, and its cache serves the next",
                 after_the_last_call),
        SENTENCE("a thread for whose cache there is no memory gets one later", no_memory_for_a_cache),
        SENTENCE("a bin whose bounds or entries were changed is found", corruption),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
