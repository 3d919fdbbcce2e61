/* stress_test.c: threads, their ends, forks and signals, all at once. Single runs are short. The test's time limit
 * ends a deadlock, --config=tsan finds races, and the counts at the end show lost objects. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "allocator/cache/cache.h"
#include "allocator/heap/depot.h"
#include "allocator/heap/large.h"
#include "allocator/pages/superslab.h"
#include "allocator/policy.h"
#include "include/hakmem.h"
#include "tests/stress/crowd.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CASE(text, function) {text, function, NULL, NULL, NULL}

enum { THREADS = 8, FORKS = 200, SHARED = 512 };

/* Mostly small, sometimes medium, now and then large. */
static size_t draw_size(uint64_t *seed) {
    uint64_t kind = crowd_draw(seed) % 100;
    return sizeof(size_t) + crowd_draw(seed) % (kind < 90 ? 1024 : kind < 99 ? 40000 : 900000);
}

/* An object holds its size in its first word, and a mark in its last byte. */
static size_t *make(uint64_t *seed) {
    size_t size = draw_size(seed);
    size_t *obj = crowd_draw(seed) % 4 == 0 ? hak_calloc(1, size) : hak_malloc(size);
    if (obj == NULL)
        abort();
    *obj = size;
    if (size > sizeof size)
        ((unsigned char *)obj)[size - 1] = (unsigned char)size;
    return obj;
}
static void end(size_t *obj) {
    if (obj == NULL)
        return;
    size_t size = *obj;
    if (size > sizeof size && ((unsigned char *)obj)[size - 1] != (unsigned char)size)
        abort();
    hak_free(obj);
}

/* Objects on their way from any thread to any other. */
static struct {
    pthread_mutex_t mutex;
    size_t *objs[SHARED];
} shared = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static size_t *swap(unsigned place, size_t *obj) {
    pthread_mutex_lock(&shared.mutex);
    size_t *other = shared.objs[place];
    shared.objs[place] = obj;
    pthread_mutex_unlock(&shared.mutex);
    return other;
}

static void use(uint64_t *seed, int steps) {
    size_t *mine[64] = {NULL};
    for (int i = 0; i < steps; i++) {
        size_t **place = &mine[crowd_draw(seed) % 64];
        if (crowd_draw(seed) % 4 == 0) { /* to another thread, and from one */
            *place = swap((unsigned)(crowd_draw(seed) % SHARED), *place);
        } else if (*place == NULL)
            *place = make(seed);
        else {
            end(*place);
            *place = NULL;
        }
    }
    for (int i = 0; i < 64; i++)
        end(mine[i]);
}

static void empty_shared(void) {
    for (unsigned i = 0; i < SHARED; i++)
        end(swap(i, NULL));
}

/* The memory in use when every object was freed and this thread's cache is empty. */
static void expect_all_home(void) {
    hak_cache_flush_all();
    hak_depot_trim();
    hak_depot_check();
    hak_superslab_check();
    hak_large_check();
    if (HAK_POLICY_CLASS_BOUND)
        return; /* frees may be delayed: objects in quarantine cannot be told from lost ones */
    assert_int_equal(hak_large_count, 0);
    assert_int_equal(hak_superslab_live_bytes, 0);
    assert_int_equal(hak_cache_objects(), 0);
}

static void *worker(void *arg) {
    uint64_t seed = (uintptr_t)arg;
    use(&seed, 6000);
    return NULL;
}

static void exchange(void **state) {
    (void)state;
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, worker, (void *)(i + 1)), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    empty_shared();
    expect_all_home();
}

static void *short_life(void *arg) {
    uint64_t seed = (uintptr_t)arg;
    use(&seed, 300);
    return NULL;
}

static void short_lives(void **state) {
    (void)state;
    for (uintptr_t round = 0; round < 30; round++) {
        pthread_t threads[4];
        for (uintptr_t i = 0; i < 4; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, short_life, (void *)(round * 4 + i + 1)), 0);
        for (int i = 0; i < 4; i++)
            pthread_join(threads[i], NULL);
    }
    empty_shared();
    expect_all_home();
    assert_int_equal(hak_caches_live, 1);
}

/* Destructors that free, allocate, and set their key again, before and after the allocator's own destructor. */
static pthread_key_t keys[4];

static void destroy(void *value) {
    uint64_t seed = (uintptr_t)value;
    size_t *obj = value;
    size_t lives = obj[1];
    end(make(&seed));
    hak_free(obj);
    if (lives != 0) {
        obj = hak_malloc(2 * sizeof(size_t));
        obj[0] = 2 * sizeof(size_t);
        obj[1] = lives - 1;
        for (int i = 0; i < 4; i++)
            if (pthread_getspecific(keys[i]) == NULL) {
                pthread_setspecific(keys[i], obj);
                return;
            }
        hak_free(obj);
    }
}

static void *with_keys(void *arg) {
    uint64_t seed = (uintptr_t)arg;
    for (int i = 0; i < 4; i++) {
        size_t *obj = hak_malloc(2 * sizeof(size_t));
        obj[0] = 2 * sizeof(size_t);
        obj[1] = 2; /* lives again; POSIX allows 4 rounds at least */
        pthread_setspecific(keys[i], obj);
    }
    use(&seed, 200);
    return NULL;
}

static void thread_keys(void **state) {
    (void)state;
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_key_create(&keys[i], destroy), 0);
    for (uintptr_t round = 0; round < 40; round++) {
        pthread_t threads[2];
        for (uintptr_t i = 0; i < 2; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, with_keys, (void *)(round * 2 + i + 1)), 0);
        for (int i = 0; i < 2; i++)
            pthread_join(threads[i], NULL);
    }
    for (int i = 0; i < 4; i++)
        pthread_key_delete(keys[i]);
    empty_shared();
    expect_all_home();
}

static _Atomic bool stop;

static void *until_stopped(void *arg) {
    uint64_t seed = (uintptr_t)arg;
    while (!atomic_load(&stop)) {
        use(&seed, 50);
        usleep(500); /* the thread that forks must get its turn on a machine with few processors */
    }
    return NULL;
}

/* In the child: exit 0 when it could allocate and free all kinds of objects. */
static _Noreturn void child_works(uint64_t seed) {
    size_t *objs[50];
    for (int i = 0; i < 50; i++)
        objs[i] = make(&seed);
    for (int i = 0; i < 50; i++)
        end(objs[i]);
    _exit(0);
}

static _Atomic pid_t forked_in_handler;
static void fork_in_handler(int number) {
    (void)number;
    pid_t child = fork();
    if (child == 0)
        child_works(99);
    atomic_store(&forked_in_handler, child);
}

static void forks(void **state) {
    (void)state;
    pthread_t threads[THREADS];
    signal(SIGUSR1, fork_in_handler);
    atomic_store(&stop, false);
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, until_stopped, (void *)(i + 1)), 0);
    uint64_t seed = 5;
    for (int i = 0; i < FORKS; i++) {
        pid_t child;
        if (i % 10 == 9) { /* the handler runs in this thread, which is in no call of the allocator */
            raise(SIGUSR1);
            child = atomic_load(&forked_in_handler);
        } else if ((child = fork()) == 0)
            child_works((uint64_t)i);
        assert_true(child > 0);
        end(make(&seed)); /* the parent goes on as well */
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    signal(SIGUSR1, SIG_DFL);
    empty_shared();
    expect_all_home();
}

static _Atomic unsigned signals;
static void count_signal(int number) {
    (void)number;
    atomic_fetch_add(&signals, 1);
}

/* Signals interrupt the allocator at any point, also while it waits for locks; the handler itself allocates nothing. */
static void interrupted(void **state) {
    (void)state;
    struct sigaction action = {.sa_handler =
                                   count_signal}; /* no SA_RESTART: calls of the OS end with EINTR */
    assert_int_equal(sigaction(SIGUSR2, &action, NULL), 0);
    pthread_t threads[THREADS];
    atomic_store(&stop, false);
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, until_stopped, (void *)(i + 1)), 0);
    for (int i = 0; i < 600; i++) {
        pthread_kill(threads[i % THREADS], SIGUSR2);
        usleep(200);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_true(atomic_load(&signals) > 0);
    empty_shared();
    expect_all_home();
}

/* The destructor of a key that was created after the allocator's key, so it runs later in each round. */
static pthread_key_t younger;
static int error_seen, rounds_with_cache;
static void at_end(void *round) {
    if (round == (void *)1)
        error_seen = errno;
    rounds_with_cache += hak_cache_begun();
    hak_free(hak_malloc(100));
    if (round != (void *)2)
        pthread_setspecific(younger, (void *)2);
}
static void *ends_with_a_key(void *unused) {
    hak_free(hak_malloc(100));
    pthread_setspecific(younger, (void *)1);
    errno = 77;
    return unused;
}

static void destructors(void **state) {
    (void)state;
    pthread_t thread;
    hak_free(hak_malloc(100));
    assert_int_equal(pthread_key_create(&younger, at_end), 0);
    assert_int_equal(pthread_create(&thread, NULL, ends_with_a_key, NULL), 0);
    pthread_join(thread, NULL);
    pthread_key_delete(younger);
    assert_int_equal(error_seen, 77);
    assert_int_equal(rounds_with_cache, 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE("objects that go from thread to thread are intact, and all come home", exchange),
        CASE("threads come and go while others free their objects, and leave nothing behind", short_lives),
        CASE("destructors of thread keys free and allocate, whichever runs first", thread_keys),
        CASE("until the last of them a thread has its cache, and errno stays", destructors),
        CASE("200 forks under eight allocating threads: parent and child go on", forks),
        CASE("signals that interrupt the allocator anywhere do no harm", interrupted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
