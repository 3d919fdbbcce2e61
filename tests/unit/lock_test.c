/* lock_test.c: the mutex of lock.h and, in debug builds, its ranks. */
#include "tests/unit/unit.h"

#include "allocator/api/usage.h"
#include "allocator/base/lock.h"
#include "allocator/cache/cache.h"
#include "allocator/heap/depot.h"
#include "allocator/life/init.h"
#include "allocator/policy.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

enum { THREADS = 4, ROUNDS = 50000 };

static hak_lock lock = HAK_LOCK_INIT(HAK_RANK_LARGE);
static uint64_t guarded; /* not atomic on purpose: without the lock the sum would be wrong */

static void *count(void *unused) {
    (void)unused;
    for (int i = 0; i < ROUNDS; i++) {
        errno = i;
        if (i % 2 == 0 || !hak_lock_try(&lock))
            hak_lock_take(&lock);
        guarded++;
        hak_lock_give(&lock);
        if (errno != i)
            return &lock;
    }
    return NULL;
}

static void exclusion(void **state) {
    (void)state;
    pthread_t threads[THREADS];
    guarded = 0;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count, NULL), 0);
    for (int i = 0; i < THREADS; i++) {
        void *wrong;
        pthread_join(threads[i], &wrong);
        assert_null(wrong);
    }
    assert_int_equal(guarded, (uint64_t)THREADS * ROUNDS);
    assert_false(HAK_ALONE());
    assert_int_equal(atomic_load(&lock.word), 0);
}

/* As in a signal handler that interrupted the lock's holder. */
static void seen_free(void **state) {
    (void)state;
    hak_lock *const locks[] = {&hak_cache_lock, hak_policy_lock(0)};
    unsigned patience = 2;
    assert_true(hak_init());
    assert_true(hak_usage_readable(0));
    for (int i = 0; i < 2; i++) {
        if (locks[i] == NULL)
            continue;
        hak_lock_take(locks[i]);
        assert_false(hak_usage_readable(2));
        errno = 5;
        assert_false(hak_lock_seen_free(locks[i], &patience));
        assert_int_equal(errno, 5);
        assert_int_equal(patience, 0);
        patience = 2;
        hak_lock_give(locks[i]);
        assert_true(hak_lock_seen_free(locks[i], &patience));
        assert_int_equal(patience, 2);
    }
    hak_lock_fork_begin();
    hak_depot_lock_all();
    assert_false(hak_usage_readable(2));
    hak_depot_unlock_all();
    hak_lock_fork_end();
    assert_true(hak_usage_readable(0));
}

static void *take_and_give(void *unused) {
    (void)unused;
    hak_lock_take(&lock);
    hak_lock_give(&lock);
    return NULL;
}

/* The word becomes 2 just before the other thread sleeps; a while later it sleeps. */
static void wakes(void **state) {
    (void)state;
    pthread_t sleeper;
    hak_lock_take(&lock);
    assert_int_equal(pthread_create(&sleeper, NULL, take_and_give, NULL), 0);
    while (atomic_load(&lock.word) != 2)
        usleep(1000);
    usleep(50000);
    hak_lock_give(&lock);
    pthread_join(sleeper, NULL);
    assert_int_equal(atomic_load(&lock.word), 0);
}

/* Only the slow half, for a word that another thread sets to 2 and 0 in turn. A thread that wants to sleep finds the
 * word changed (EAGAIN), is woken, or is interrupted. */
static _Atomic bool over;
static void *flips(void *unused) {
    while (!over) {
        atomic_store(&lock.word, 2);
        hak_unlock_slow(&lock);
    }
    return unused;
}
static void slow_half(void **state) {
    (void)state;
    pthread_t flipper;
    over = false;
    assert_int_equal(pthread_create(&flipper, NULL, flips, NULL), 0);
    for (int i = 0; i < ROUNDS; i++) {
        errno = i;
        hak_lock_slow(&lock);
        assert_int_equal(errno, i);
    }
    over = true;
    pthread_join(flipper, NULL);
    atomic_store(&lock.word, 0);
}

/* Without a race: the word is always 2 here, and the kernel is given another value. A signal ends the sleep. */
static void on_signal(int number) {
    (void)number;
}
static void *sleeps_and_keeps_errno(void *unused) {
    (void)unused;
    errno = 4321;
    hak_lock_slow(&lock);
    return errno == 4321 ? NULL : &lock;
}
static void interrupted(void **state) {
    (void)state;
    pthread_t sleeper;
    void *wrong;
    struct sigaction action = {.sa_handler = on_signal}; /* no SA_RESTART: the call fails with EINTR */
    assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
    atomic_store(&lock.word, 1);
    assert_int_equal(pthread_create(&sleeper, NULL, sleeps_and_keeps_errno, NULL), 0);
    while (atomic_load(&lock.word) != 2)
        usleep(1000);
    for (int i = 0; i < 20; i++) {
        usleep(2000);
        pthread_kill(sleeper, SIGUSR1);
    }
    hak_unlock_slow(&lock);
    pthread_join(sleeper, &wrong);
    assert_null(wrong);
    atomic_store(&lock.word, 0);
}

/* Two threads sleep; each of them, when it gets the lock, leaves the lock marked for the other. */
static _Atomic int have_had;
static void *takes_and_gives_slowly(void *unused) {
    hak_lock_slow(&lock);
    have_had++;
    hak_unlock_slow(&lock);
    return unused;
}
static void every_sleeper_is_woken(void **state) {
    (void)state;
    pthread_t sleepers[THREADS];
    have_had = 0;
    atomic_store(&lock.word, 2);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&sleepers[i], NULL, takes_and_gives_slowly, NULL), 0);
    usleep(100000); /* they sleep by now; otherwise the case is an easier one */
    hak_unlock_slow(&lock);
    for (int i = 0; i < THREADS; i++)
        pthread_join(sleepers[i], NULL);
    assert_int_equal(have_had, THREADS);
}

/* The first test: later ones start threads. */
static void alone(void **state) {
    (void)state;
    assert_true(HAK_ALONE());
    hak_lock_take(&lock);
    assert_int_equal(atomic_load(&lock.word), 1);
    assert_false(hak_lock_try(&lock));
    hak_lock_give(&lock);
    assert_int_equal(atomic_load(&lock.word), 0);
    assert_true(hak_lock_try(&lock));
    assert_int_equal(atomic_load(&lock.word), 1);
    hak_lock_give(&lock);
}

static hak_lock low = HAK_LOCK_INIT(HAK_RANK_DEPOT), peer = HAK_LOCK_INIT(HAK_RANK_DEPOT),
                high = HAK_LOCK_INIT(HAK_RANK_REGION);

static void in_order(void *unused) {
    (void)unused;
    hak_lock_take(&low);
    hak_lock_take(&high);
    hak_lock_give(&high);
    hak_lock_give(&low);
    hak_lock_take(&high);
    hak_lock_give(&high);
    hak_lock_fork_begin();
    hak_lock_fork_take(&low);
    hak_lock_fork_take(&peer);
    hak_lock_fork_take(&high);
    hak_lock_fork_owns(true);
    hak_lock_take(&low); /* as a signal handler does that allocates */
    hak_lock_give(&low);
    hak_lock_fork_owns(false);
    hak_lock_fork_give(&high);
    hak_lock_fork_give(&peer);
    hak_lock_fork_give(&low);
    hak_lock_fork_end();
    hak_lock_take(&low);
    hak_lock_give(&low);
}
static void out_of_order(void *unused) {
    (void)unused;
    hak_lock_take(&high);
    hak_lock_take(&low);
}
static void two_of_a_rank(void *unused) {
    (void)unused;
    hak_lock_take(&low);
    hak_lock_take(&peer);
}
static void not_held(void *unused) {
    (void)unused;
    hak_lock_give(&low);
}

/* A thread that goes to sleep meanwhile is woken. */
static void forks(void **state) {
    (void)state;
    pthread_t sleeper;
    hak_lock_fork_begin();
    hak_lock_fork_take(&lock);
    assert_int_equal(atomic_load(&lock.word), 3);
    hak_lock_fork_owns(true);
    for (int round = 0; round < 2; round++) {
        hak_lock_take(&lock);
        hak_lock_give(&lock);
        assert_false(hak_lock_try(&lock));
        assert_int_equal(atomic_load(&lock.word), 3 - round);
        if (round == 0)
            assert_int_equal(pthread_create(&sleeper, NULL, take_and_give, NULL), 0);
        while (atomic_load(&lock.word) != 2)
            usleep(1000);
    }
    hak_lock_fork_owns(false);
    hak_lock_fork_give(&lock);
    hak_lock_fork_end();
    pthread_join(sleeper, NULL);
    assert_int_equal(atomic_load(&lock.word), 0);
}

static void guarded_without(void *unused) {
    (void)unused;
    hak_lock_take(&low);
    hak_lock_check_held(&low);
    hak_lock_check_held(&high);
}

static void ranks(void **state) {
    (void)state;
    assert_string_equal(unit_stderr_of(in_order, NULL), "");
    unit_expect_death(out_of_order, NULL, "assertion failed: lock taken out of rank order");
    unit_expect_death(two_of_a_rank, NULL, "assertion failed: lock taken out of rank order");
    unit_expect_death(guarded_without, NULL, "assertion failed: what a lock guards is changed without it");
    unit_expect_death(not_held, NULL, "assertion failed: lock given back that is not held");
}

int main(void) {
    alarm(30); /* a thread that waits for a lock which is never given back waits for ever */
    const struct CMUnitTest tests[] = {
        CASE("with one thread a lock is taken and given back without an exchange", alone),
        CASE("only one thread at a time has the lock, and errno is kept", exclusion),
        CASE("who may have interrupted the holder is told that it is not free, after a while", seen_free),
        CASE("a thread that sleeps for the lock is woken", wakes),
        CASE("a wait keeps errno, whatever the kernel answers", slow_half),
        CASE("also when a signal comes", interrupted),
        CASE("of several that sleep each is woken", every_sleeper_is_woken),
        CASE("a thread that forks has its locks, whatever it takes and gives, until it is done", forks),
        CASE("debug builds end where locks are taken out of rank order", ranks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
