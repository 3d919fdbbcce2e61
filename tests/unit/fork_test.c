/* fork_test.c: a fork waits until no other thread is inside the allocator, and no lock is taken in the child. */
#include "tests/unit/asleep.h"
#include "tests/unit/unit.h"

#include "allocator/cache/cache.h"
#include "allocator/heap/large.h"
#include "allocator/heap/profile.h"
#include "allocator/life/fork.h"
#include "allocator/life/init.h"
#include "allocator/pages/superslab.h"
#include "allocator/policy.h"
#include "include/hakmem.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { HELD_US = 20000, CHILD_SECONDS = 20 };

static _Atomic bool held, forks, given;
static pid_t forker; /* the thread that forks */

/* Holds a lock for a while. */
static void *hold(void *context) {
    hak_lock *lock = context;
    hak_lock_take(lock);
    atomic_store(&held, true);
    usleep(HELD_US);
    atomic_store(&given, true);
    hak_lock_give(lock);
    return NULL;
}

/* Registers handlers for a while. */
static void *hold_registry(void *unused) {
    bool began = hak_fork_register_begin();
    bool again = hak_fork_register_begin(); /* libc registers our own handlers in the same way */
    atomic_store(&held, true);
    usleep(HELD_US);
    hak_fork_register_end(again);
    atomic_store(&given, true);
    hak_fork_register_end(began);
    return again ? &held : unused;
}

/* fflush(NULL) calls it, and holds libc's list of streams. Waits until the fork waits for that. */
static bool took_others;
static ssize_t written(void *unused, const char *text, size_t size) {
    (void)unused, (void)text;
    atomic_store(&held, true);
    while (!atomic_load(&forks) || !thread_is_asleep(forker))
        usleep(100);
    took_others =
        hak_lock_is_taken(&hak_large_lock); /* whoever holds the list may wait for one that allocates */
    atomic_store(&given, true);
    return (ssize_t)size;
}
static void *hold_streams(void *unused) {
    FILE *file = fopencookie(NULL, "w", (cookie_io_functions_t){.write = written});
    if (file == NULL || fputs("text", file) < 0 || fflush(NULL) != 0 || fclose(file) != 0)
        abort();
    return took_others ? &held : unused;
}

/* In the child: whether the lock was given and is free, and whether every lock can be taken. */
static int look(hak_lock *lock) {
    alarm(CHILD_SECONDS); /* ends a deadlock, which the status shows */
    if (!atomic_load(&given))
        return 1;
    if (lock != NULL && atomic_load(&lock->word) != 0)
        return 2;
    hak_free(hak_malloc(100));
    hak_free(hak_malloc(HAK_MIB));
    return 0;
}

static void waits_for(void *(*body)(void *), hak_lock *lock) {
    pthread_t holder;
    int status = 0;
    forker = (pid_t)syscall(SYS_gettid);
    atomic_store(&held, false);
    atomic_store(&forks, false);
    atomic_store(&given, false);
    assert_int_equal(pthread_create(&holder, NULL, body, lock), 0);
    while (!atomic_load(&held))
        usleep(100);
    atomic_store(&forks, true);
    pid_t child = fork();
    if (child == 0)
        _exit(look(lock));
    assert_true(child > 0);
    assert_true(atomic_load(&given));
    void *wrong;
    pthread_join(holder, &wrong);
    assert_null(wrong);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    hak_free(hak_malloc(HAK_MIB)); /* the parent goes on, too */
}

/* *state is the lock; NULL: the variant has no such lock. */
static void waits(void **state) {
    if (*state == NULL)
        skip();
    waits_for(hold, *state);
}

static hak_lock *last_policy_lock(void) {
    hak_lock *last = NULL, *lock;
    for (unsigned i = 0; (lock = hak_policy_lock(i)) != NULL; i++)
        last = lock;
    return last;
}

static void waits_for_registry(void **state) {
    (void)state;
    waits_for(hold_registry, NULL);
}

static void waits_for_streams(void **state) {
    (void)state;
    waits_for(hold_streams, NULL);
}

/* Must come first. */
static void waits_before_any_call(void **state) {
    (void)state;
    assert_false(hak_cache_begun());
    waits_for(hold, &hak_cache_lock);
}

/* Handlers that libc knew before ours, so they run between ours: this thread has all locks. The first one forks. */
static bool nest, had, kept, kept_after;
static int inner_status;
static bool all_taken(void) {
    return hak_lock_is_taken(&hak_init_lock) && hak_lock_is_taken(&hak_cache_lock) &&
           hak_lock_is_taken(&hak_large_lock) && hak_lock_is_taken(&hak_superslab_lock);
}
static void fork_again(void) {
    if (!nest)
        return;
    nest = false;
    had = all_taken();
    pid_t child = fork();
    if (child == 0)
        _exit(all_taken() ? 0 : 1);
    if (child < 0 || waitpid(child, &inner_status, 0) != child)
        inner_status = -1;
    kept = all_taken();
    nest = true;
}
static void still_inside(void) {
    kept_after = all_taken();
}
__attribute__((no_sanitize("address", "thread"))) static void register_first(void) {
    if (!HAK_TSAN) /* its pthread_atfork does not work yet */
        (void)pthread_atfork(fork_again, still_inside, still_inside);
}
__attribute__((section(".preinit_array"), used)) static void (*const registers_first)(void) = register_first;

static void *sleeps(void *unused) {
    pthread_barrier_wait(unused);
    return NULL;
}

static void nested(void **state) {
    (void)state;
    if (HAK_TSAN)
        skip();      /* see register_first */
    pthread_t other; /* a process of one thread takes no lock */
    pthread_barrier_t end;
    int status = 0;
    pthread_barrier_init(&end, NULL, 2);
    assert_int_equal(pthread_create(&other, NULL, sleeps, &end), 0);
    nest = true;
    pid_t child = fork();
    nest = false;
    if (child == 0) {
        alarm(CHILD_SECONDS);
        hak_free(hak_malloc(HAK_MIB));
        _exit(!kept_after || all_taken());
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_true(had);
    assert_int_equal(inner_status, 0);
    assert_true(kept);
    assert_true(kept_after);
    assert_false(hak_lock_is_taken(&hak_large_lock));
    pthread_barrier_wait(&end);
    pthread_join(other, NULL);
}

/* A signal handler forks in the middle of a call that holds the lock. */
static void alone_takes_none(void **state) {
    (void)state;
    if (!HAK_ALONE())
        skip(); /* a sanitizer has its own thread */
    int status = 0;
    hak_lock_take(&hak_large_lock);
    pid_t child = fork();
    bool had = hak_lock_is_taken(&hak_large_lock);
    if (had)
        hak_lock_give(&hak_large_lock);
    if (child == 0) {
        hak_free(hak_malloc(HAK_MIB));
        _exit(had ? 0 : 1);
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_true(had);
    hak_free(hak_malloc(HAK_MIB));
}

enum { THREADS = 5 };

static pthread_barrier_t all_begun, all_end;
static const hak_cache *caches[2][THREADS]; /* of the parent's threads and of the child's */
static const hak_cache *of_ended;           /* a thread of the parent that has ended */

static void *ends(void *unused) {
    hak_free(hak_malloc(100));
    of_ended = hak_cache_mine;
    return unused;
}

static void *has_cache(void *out) {
    void *objs[20];
    for (size_t i = 0; i < 20; i++)
        objs[i] = hak_malloc(16 << i % 10);
    for (size_t i = 0; i < 20; i += 2)
        hak_free(objs[i]);
    *(const hak_cache **)out = hak_cache_mine;
    pthread_barrier_wait(&all_begun);
    pthread_barrier_wait(&all_end);
    for (size_t i = 1; i < 20; i += 2)
        hak_free(objs[i]);
    return NULL;
}

static void threads_begin(pthread_t threads[THREADS], const hak_cache *out[THREADS]) {
    pthread_barrier_init(&all_begun, NULL, THREADS + 1);
    pthread_barrier_init(&all_end, NULL, THREADS + 1);
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, has_cache, &out[i]) != 0)
            abort();
    pthread_barrier_wait(&all_begun);
}

static void threads_end(const pthread_t threads[THREADS]) {
    pthread_barrier_wait(&all_end);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

static int count_in(const hak_cache *cache, const hak_cache *of[THREADS]) {
    int count = 0;
    for (int i = 0; i < THREADS; i++)
        count += of[i] == cache;
    return count;
}

/* In the child: 0 when each of its threads has one of the caches that the parent's threads had. */
static int child_of_threads(void) {
    pthread_t threads[THREADS];
    alarm(CHILD_SECONDS);
    if (hak_caches_live != 1)
        return 1;
    threads_begin(threads, caches[1]);
    for (int i = 0; i < THREADS; i++)
        if (caches[1][i] == hak_cache_mine || count_in(caches[1][i], caches[1]) != 1 ||
            count_in(caches[1][i], caches[0]) + (caches[1][i] == of_ended) != 1)
            return 2;
    if (hak_caches_live != THREADS + 1)
        return 3;
    threads_end(threads);
    return hak_caches_live == 1 ? 0 : 4;
}

/* A grandchild, where the caches of both ancestors have no owner. */
static int child_and_grandchild(void) {
    int status = child_of_threads();
    pid_t child = status == 0 ? fork() : -1;
    if (child == 0)
        _exit(child_of_threads());
    if (status != 0 || child < 0 || waitpid(child, &status, 0) != child)
        return status != 0 ? status : 5;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 6;
}

static void caches_serve_again(void **state) {
    (void)state;
    if (HAK_TSAN)
        skip(); /* a child of a process with several threads cannot start a thread */
    pthread_t threads[THREADS];
    int status = 0;
    threads_begin(threads, caches[0]);
    pthread_t ended;
    assert_int_equal(pthread_create(&ended, NULL, ends, NULL), 0);
    assert_int_equal(pthread_join(ended, NULL), 0);
    pid_t child = fork();
    if (child == 0)
        _exit(child_and_grandchild());
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    threads_end(threads);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        {"fork waits for who holds a lock, also where nobody has called malloc yet", waits_before_any_call,
         NULL, NULL, NULL},
        {"a fork in a handler of another gives no lock back", nested, unit_fresh, NULL, NULL},
        {"fork takes no lock before it has libc's list of streams", waits_for_streams, unit_fresh, NULL,
         NULL},
        {"a process of one thread takes no lock at a fork", alone_takes_none, unit_fresh, NULL, NULL},
        {"a child's threads have the caches of threads that it has not", caches_serve_again, unit_fresh, NULL,
         NULL},
        {"fork waits for who registers handlers", waits_for_registry, unit_fresh, NULL, NULL},
        {"fork waits for who starts the allocator", waits, unit_fresh, NULL, &hak_init_lock},
        {"fork waits for who holds the lock of the caches", waits, unit_fresh, NULL, &hak_cache_lock},
        {"fork waits for who holds the lock of large objects", waits, unit_fresh, NULL, &hak_large_lock},
        {"fork waits for who holds the lock of the heap profile", waits, unit_fresh, NULL, &hak_profile_lock},
        {"fork waits for who holds the lock of superslabs", waits, unit_fresh, NULL, &hak_superslab_lock},
        {"fork waits for who holds the lock of regions", waits, unit_fresh, NULL, &hak_region_lock},
        {"fork waits for who holds the policy's lock", waits, unit_fresh, NULL, hak_policy_lock(0)},
        {"fork waits for who holds any lock of the policy", waits, unit_fresh, NULL, last_policy_lock()},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
