/* fork_test.c: a fork waits for whoever is inside the allocator, and the child finds no lock taken. */
#include "tests/unit/unit.h"

#include "allocator/cache.h"
#include "allocator/fork.h"
#include "allocator/init.h"
#include "allocator/large.h"
#include "allocator/policy.h"
#include "allocator/superslab.h"
#include "include/hakmem.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

enum { HELD_US = 20000, CHILD_SECONDS = 20 };

static _Atomic bool held, given;

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
    bool again = hak_fork_register_begin(); /* as libc's registration of our own handlers */
    atomic_store(&held, true);
    usleep(HELD_US);
    hak_fork_register_end(again);
    atomic_store(&given, true);
    hak_fork_register_end(began);
    return again ? &held : unused;
}

/* In the child: whether the lock had been given, and is free; and everything can be had. */
static int look(hak_lock *lock) {
    alarm(CHILD_SECONDS); /* a deadlock ends, and is told */
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
    atomic_store(&held, false);
    atomic_store(&given, false);
    assert_int_equal(pthread_create(&holder, NULL, body, lock), 0);
    while (!atomic_load(&held))
        usleep(100);
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

/* *state is the lock; NULL: the variant has none. */
static void waits(void **state) {
    if (*state == NULL)
        skip();
    waits_for(hold, *state);
}

static void waits_for_registry(void **state) {
    (void)state;
    waits_for(hold_registry, NULL);
}

int main(void) {
    hak_free(hak_malloc(1)); /* the handlers of fork are in place */
    const struct CMUnitTest tests[] = {
        {"fork waits for who registers handlers", waits_for_registry, unit_fresh, NULL, NULL},
        {"fork waits for who starts the allocator", waits, unit_fresh, NULL, &hak_init_lock},
        {"fork waits for who holds the lock of the caches", waits, unit_fresh, NULL, &hak_cache_lock},
        {"fork waits for who holds the lock of large objects", waits, unit_fresh, NULL, &hak_large_lock},
        {"fork waits for who holds the lock of superslabs", waits, unit_fresh, NULL, &hak_superslab_lock},
        {"fork waits for who holds the lock of regions", waits, unit_fresh, NULL, &hak_region_lock},
        {"fork waits for who holds the policy's lock", waits, unit_fresh, NULL, hak_policy_lock()},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
