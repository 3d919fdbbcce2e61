/* shards_test.c: which shard a thread has, and which shards its slots come from. */
#include "tests/unit/bins.h"
#include "tests/unit/unit.h"

#include "allocator/cache/cache_own.h"
#include "allocator/policy.h"
#include "include/hakmem.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

static unsigned shard_of(void) {
    hak_free(hak_malloc(100));
    return hak_cache_mine->shard;
}

/* Stores which shard its thread has, and keeps the shard until `context`, a barrier, has been passed twice. NULL:
 * ends at once. */
static void *has_a_shard(void *context) {
    uintptr_t shard = shard_of();
    for (int i = 0; i < 2 && context != NULL; i++)
        pthread_barrier_wait(context);
    return (void *)shard;
}

static unsigned shard_of_thread(pthread_t thread) {
    void *shard;
    pthread_join(thread, &shard);
    return (unsigned)(uintptr_t)shard;
}

static unsigned shard_of_new_thread(void) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, has_a_shard, NULL) != 0)
        return HAK_SHARDS_MAX;
    return shard_of_thread(thread);
}

static void threads_one_by_one(void **state) {
    (void)state;
    unsigned own = shard_of(), first = shard_of_new_thread();
    assert_true(hak_shards >= 2);
    assert_int_not_equal(first, own);
    for (unsigned i = 0; i < 2 * hak_shards; i++)
        assert_int_equal(shard_of_new_thread(), first);
}

static void threads_at_once(void **state) {
    (void)state;
    unsigned threads = 3 * hak_shards - 1, users[HAK_SHARDS_MAX] = {0};
    pthread_t ids[3 * HAK_SHARDS_MAX];
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, threads);
    users[shard_of()]++;
    for (unsigned i = 0; i < threads; i++)
        assert_int_equal(pthread_create(&ids[i], NULL, has_a_shard, &barrier), 0);
    for (unsigned i = 0; i < threads; i++)
        users[shard_of_thread(ids[i])]++;
    for (unsigned i = 0; i < hak_shards; i++)
        assert_int_equal(users[i], 3);
    pthread_barrier_destroy(&barrier);
}

/* The shards of a small slot and of a wide slot that the calling thread gets from the depots. */
typedef struct slot_shards {
    unsigned small, wide;
} slot_shards;

static unsigned shard_of_slot(size_t size) {
    unsigned cls = hak_class_of(size);
    void *obj = bin_take(cls);
    unsigned shard = hak_slab_find((uintptr_t)obj, cls)->shard;
    bin_give(obj, cls);
    return shard;
}

static void *look_at_slots(void *found) {
    (void)shard_of();
    hak_cache_flush_all();
    *(slot_shards *)found = (slot_shards){shard_of_slot(64), shard_of_slot(512)};
    return NULL;
}

static void shards_of_slots(void **state) {
    (void)state;
    slot_shards mine, other;
    pthread_t thread;
    look_at_slots(&mine);
    assert_int_equal(pthread_create(&thread, NULL, look_at_slots, &other), 0);
    pthread_join(thread, NULL);
    assert_int_not_equal(mine.small, other.small);
    if (HAK_POLICY_SHARERS > 1)
        assert_int_equal(mine.wide, other.wide);
    else
        assert_int_not_equal(mine.wide, other.wide);
    hak_cache_check();
    hak_depot_check();
    hak_superslab_check();
}

static void shards_in_a_child(void **state) {
    (void)state;
    if (HAK_TSAN) { /* a child of a process with several threads cannot start a thread */
        skip();
    }
    pthread_t other;
    pthread_barrier_t barrier;
    int status = 0;
    (void)shard_of();
    pthread_barrier_init(&barrier, NULL, 2);
    assert_int_equal(pthread_create(&other, NULL, has_a_shard, &barrier), 0);
    pthread_barrier_wait(&barrier);
    pid_t child = fork();
    if (child == 0)
        _exit((int)shard_of_new_thread());
    pthread_barrier_wait(&barrier);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), shard_of_thread(other)); /* nobody has the shard there */
    pthread_barrier_destroy(&barrier);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE("threads that come and go one after the other have the same shard", threads_one_by_one),
        CASE("threads at once are spread evenly over the shards", threads_at_once),
        CASE("threads refill wide slots from one shard where the policy wants it, small ones each from "
             "its own",
             shards_of_slots),
        CASE("in the child of a fork the shards of the threads that it does not have are free",
             shards_in_a_child),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
