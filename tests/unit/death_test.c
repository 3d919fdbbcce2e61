/* death_test.c: which thread reports, and what a thread that dies leaves behind (death.h, dying.c, hak_lock_break). */
#include "tests/unit/unit.h"

#include "allocator/base/lock.h"
#include "allocator/cache/cache.h"
#include "allocator/heap/depot.h"
#include "allocator/heap/large.h"
#include "allocator/life/init.h"
#include "allocator/os/death.h"
#include "allocator/os/report.h"
#include "include/hakmem.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

enum { SECONDS = 60 };

static void use_all_sizes(void) {
    static void *objs[400];
    for (size_t size = 16; size <= 1 << 20; size *= 2) {
        for (int i = 0; i < 400; i++)
            assert_non_null(objs[i] = hak_malloc(size));
        for (int i = 0; i < 400; i++)
            hak_free(objs[i]);
    }
}

/* As if broken metadata had been found under all of these locks. */
static void dies_under_locks(void *unused) {
    (void)unused;
    alarm(SECONDS); /* ends a deadlock; the missing line on stderr shows it */
    use_all_sizes();
    hak_lock_fork_begin();
    hak_lock_take(&hak_init_lock);
    hak_lock_take(&hak_cache_lock);
    hak_depot_lock_all();
    hak_lock_take(&hak_large_lock);
    hak_lock_take(&hak_superslab_lock);
    hak_lock_take(&hak_region_lock);
    hak_dying_begin(true);
    hak_lock_forget_ranks();
    use_all_sizes();
    if (write(STDERR_FILENO, "done", 4) != 4)
        _exit(1);
}

static void locks_are_broken(void **state) {
    (void)state;
    assert_string_equal(unit_stderr_of(dies_under_locks, NULL), "done");
}

static hak_lock lock = HAK_LOCK_INIT(HAK_RANK_POLICY);
static _Atomic int step;

static void *wait_for_lock(void *unused) {
    atomic_store(&step, 1);
    hak_lock_take(&lock);
    hak_lock_give(&lock);
    return unused;
}

static void waiters_go_on(void **state) {
    (void)state;
    pthread_t waiter[3];
    hak_lock_take(&lock);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&waiter[i], NULL, wait_for_lock, NULL), 0);
    while (atomic_load(&lock.word) != 2) /* one sleeps, or is about to */
        usleep(100);
    unsigned patience = 1;
    hak_lock_break(&lock, &patience);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_join(waiter[i], NULL), 0);
    assert_int_equal(patience, 0);
    assert_int_equal(atomic_load(&lock.word), 0);
    hak_lock_forget_ranks();
}

static void *give_soon(void *unused) {
    hak_lock_take(&lock);
    atomic_store(&step, 1);
    while (atomic_load(&step) != 2)
        usleep(100);
    usleep(1000);
    hak_lock_give(&lock);
    return unused;
}

/* A minute of patience: the lock is given long before that, however busy the machine is. */
static void others_may_give(void **state) {
    (void)state;
    enum { MINUTE = 60000 };
    pthread_t holder;
    unsigned patience = MINUTE;
    atomic_store(&step, 0);
    assert_int_equal(pthread_create(&holder, NULL, give_soon, NULL), 0);
    while (atomic_load(&step) != 1)
        usleep(100);
    atomic_store(&step, 2);
    hak_lock_break(&lock, &patience);
    assert_in_range(patience, 1, MINUTE - 1);
    assert_int_equal(pthread_join(holder, NULL), 0);
    hak_lock_break(&lock, &patience); /* nobody has it */
    assert_int_equal(atomic_load(&lock.word), 0);
}

static void reports_under_lock(void *unused) {
    (void)unused;
    hak_lock_take(&lock);
    hak_die_at("double free", "free", 0x10, "what");
}
static void dies_under_lock(void *unused) {
    (void)unused;
    hak_lock_take(&lock);
    hak_die("corrupt metadata", "what");
}
static void errors_come_after_locks(void **state) {
    (void)state;
    unit_expect_death(reports_under_lock, NULL,
                      "hakmem: assertion failed: an error is reported under a lock\n");
    unit_expect_death(dies_under_lock, NULL, "hakmem: corrupt metadata: what\n");
}

static void *take_turn(void *unused) {
    assert_true(hak_death_turn());
    return unused;
}
static void turn_of_a_thread_that_ended(void *unused) {
    (void)unused;
    pthread_t other;
    assert_int_equal(pthread_create(&other, NULL, take_turn, NULL), 0);
    assert_int_equal(pthread_join(other, NULL), 0);
    assert_true(hak_death_turn());
}
static void turn_in_a_child(void *unused) {
    (void)unused;
    assert_true(hak_death_turn());
    unit_expect_death(dies_under_lock, NULL, "hakmem: corrupt metadata: what\n");
    hak_death_pass();
}
static void turn_twice(void *unused) {
    (void)unused;
    assert_true(hak_death_turn());
    hak_death_pass();
    assert_true(hak_death_turn());
    (void)hak_death_turn();
}
static void turns(void **state) {
    (void)state;
    assert_string_equal(unit_stderr_of(turn_of_a_thread_that_ended, NULL), "");
    assert_string_equal(unit_stderr_of(turn_in_a_child, NULL), "");
    unit_expect_death(turn_twice, NULL, "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE("after a death under every lock the thread can use the heap", locks_are_broken),
        CASE("whoever waits for a lock that is broken goes on", waiters_go_on),
        CASE("a lock that is given in time is not broken", others_may_give),
        CASE("an error is reported when no lock is held", errors_come_after_locks),
        CASE("the turn is nobody's when its thread has ended, or in a child", turns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
