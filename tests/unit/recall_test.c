/* recall_test.c: objects in the bins of threads that sleep go back to the depots (cache_recall.c). */
#include "tests/unit/bins.h"
#include "tests/unit/unit.h"

#include "allocator/cache/cache.h"
#include "allocator/life/fork.h"
#include "allocator/life/idle.h"
#include "allocator/life/reclaim.h"
#include "allocator/os/os.h"
#include "allocator/pages/release.h"
#include "allocator/policy.h"
#include "include/hakmem.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CLS = 5, OTHER = 20, COUNT = 12 };

static pthread_barrier_t turn;

static void next_turn(void) {
    pthread_barrier_wait(&turn);
}
/* The other thread goes on until it hands over. */
static void hand_over(void) {
    next_turn();
    next_turn();
}

/* Fills bins of the calling thread. */
static void fill(unsigned cls) {
    void *objs[COUNT];
    for (int i = 0; i < COUNT; i++)
        objs[i] = bin_take(cls);
    for (int i = 0; i < COUNT; i++)
        bin_give(objs[i], cls);
}

static size_t held(unsigned cls) {
    size_t objects[HAK_TAGS] = {0};
    hak_cache_count(objects);
    return objects[cls];
}

/* Takes many objects; no two are the same. */
static void take_distinct(unsigned cls) {
    enum { MANY = 3 * COUNT };
    void *objs[MANY];
    for (int i = 0; i < MANY; i++) {
        objs[i] = bin_take(cls);
        assert_non_null(objs[i]);
        for (int k = 0; k < i; k++)
            assert_ptr_not_equal(objs[i], objs[k]);
    }
    for (int i = 0; i < MANY; i++)
        bin_give(objs[i], cls);
}

static void *sleeper(void *arg) {
    (void)arg;
    assert_true(hak_cache_begin());
    fill(CLS);
    fill(OTHER);
    next_turn(); /* sleeps with full bins */
    next_turn();
    assert_int_equal(hak_cache_held(), 2);
    void *a = hak_cache_pop(hak_cache_mine, CLS); /* the topmost is left; the next one is not there */
    assert_non_null(a);
    assert_null(hak_cache_pop(hak_cache_mine, CLS));
    bin_give(a, CLS);
    bin_give(bin_take(OTHER), OTHER);
    next_turn(); /* sleeps with what was left, and a gap below it */
    next_turn();
    take_distinct(CLS);
    take_distinct(OTHER);
    hak_cache_check();
    next_turn(); /* sleeps with full bins once more, and ends */
    next_turn();
    hak_cache_end();
    return NULL;
}

static pthread_t begin(void *(*body)(void *arg)) {
    pthread_t thread;
    assert_true(hak_cache_begin());
    pthread_barrier_init(&turn, NULL, 2);
    assert_int_equal(pthread_create(&thread, NULL, body, NULL), 0);
    next_turn();
    return thread;
}

static void all_but_the_topmost(void **state) {
    (void)state;
    pthread_t thread = begin(sleeper);
    size_t before = held(CLS), room = hak_cache_room, out = hak_cache_out[CLS];
    assert_true(before >= COUNT);
    size_t objects = hak_cache_recall(true);
    assert_true(objects >= 2 * (COUNT - 1));
    assert_int_equal(held(CLS), 1);
    assert_int_equal(held(OTHER), 1);
    assert_int_equal(hak_cache_out[CLS], out - (before - 1));
    assert_true(hak_cache_room < room);
    hak_depot_check();
    hak_superslab_check();
    assert_int_equal(hak_cache_recall(true), 0);
    hand_over();
    assert_int_equal(hak_cache_recall(true), 0); /* one in each bin */
    hand_over();
    assert_true(hak_cache_recall(true) >= COUNT);
    next_turn();
    pthread_join(thread, NULL);
    hak_cache_flush_all();
    assert_int_equal(hak_cache_objects(), 0);
    assert_int_equal(hak_cache_room, 0);
    hak_depot_check();
    hak_superslab_check();
}

static void *rester(void *arg) {
    (void)arg;
    assert_true(hak_cache_begin());
    fill(OTHER);
    hand_over();
    hak_cache_age();
    fill(OTHER);
    take_distinct(CLS); /* a slow call, which ages the bins */
    hand_over();
    hak_cache_end();
    return NULL;
}

static void only_of_those_that_rest(void **state) {
    (void)state;
    pthread_t thread = begin(rester);
    (void)hak_cache_recall(false);
    hand_over();
    assert_int_equal(hak_cache_recall(false), 0); /* it was at work since the last look */
    assert_true(hak_cache_recall(false) != 0);
    assert_int_equal(hak_cache_recall(false), 0); /* once is enough */
    next_turn();
    pthread_join(thread, NULL);
}

static void by_trim(void) {
    (void)hak_trim(0);
}
static void by_want_of_memory(void) {
    (void)hak_reclaim_memory(16, HAK_RECLAIM_IDLE);
}
/* Two passes, a second and more apart. */
static void by_the_clock(void) {
    uint64_t now = hak_os_milliseconds();
    for (uint64_t i = 1; i <= 2; i++)
        hak_idle_pass(now + i * 2 * hak_release_unused_ms());
}

static void *waiter(void *arg) {
    (void)arg;
    assert_true(hak_cache_begin());
    fill(OTHER);
    hand_over();
    hak_cache_end();
    return NULL;
}

static void whoever_asks(void **state) {
    (void)state;
    static void (*const ways[])(void) = {by_trim, by_want_of_memory, by_the_clock};
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        pthread_t thread = begin(waiter);
        assert_true(held(OTHER) >= COUNT);
        ways[i]();
        assert_int_equal(held(OTHER), 1);
        next_turn();
        pthread_join(thread, NULL);
    }
}

/* A thread hears of malloc_trim at its next slow call, and empties all of its bins then. */
static void *hears(void *arg) {
    (void)arg;
    assert_true(hak_cache_begin());
    fill(OTHER);
    hand_over();
    bin_give(bin_take(CLS), CLS);
    hand_over();
    hak_cache_end();
    return NULL;
}
static void trim_is_heard(void **state) {
    (void)state;
    hak_cache_flush_all();
    pthread_t thread = begin(hears);
    by_trim();
    assert_int_equal(held(OTHER), 1);
    hand_over();
    assert_int_equal(held(OTHER), 0);
    next_turn();
    pthread_join(thread, NULL);
}

static void *new_thread(void *arg) {
    (void)arg;
    assert_true(hak_cache_begin());
    take_distinct(CLS);
    hand_over();
    hak_cache_check();
    hak_cache_end();
    return NULL;
}

static pthread_barrier_t both;

static void *filler(void *arg) {
    (void)arg;
    assert_true(hak_cache_begin());
    fill(OTHER);
    pthread_barrier_wait(&both);
    pthread_barrier_wait(&both);
    hak_cache_end();
    return NULL;
}

/* True when the bins of the parent's threads stay as they are. One of their caches is the new thread's now. */
static bool lost_bins_are_left(void) {
    hak_cache_alone();
    pthread_t thread = begin(new_thread);
    size_t lost = held(OTHER), own = held(CLS), objects = hak_cache_recall(true);
    next_turn();
    pthread_join(thread, NULL);
    return lost != 0 && objects == own - 1 && held(OTHER) == lost;
}

static void in_a_child(void **state) {
    (void)state;
    if (HAK_TSAN)
        skip(); /* ThreadSanitizer does not support threads in the child */
    pthread_t threads[2];
    pthread_barrier_init(&both, NULL, 3);
    assert_true(hak_cache_begin());
    hak_cache_flush_all();
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, filler, NULL), 0);
    pthread_barrier_wait(&both);
    pid_t child = fork();
    if (child == 0)
        _exit(!lost_bins_are_left());
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    pthread_barrier_wait(&both);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
}

/* Threads that sleep with what one class holds, COUNT objects each. */
enum { SLEEPERS = 20, PASS_MOST = 16 };
static unsigned sleepers_cls;
static void *sleeps(void *arg) {
    (void)arg;
    assert_true(hak_cache_begin());
    fill(sleepers_cls);
    pthread_barrier_wait(&both);
    pthread_barrier_wait(&both);
    hak_cache_end();
    return NULL;
}
static void begin_sleepers(pthread_t *threads, unsigned count, unsigned cls) {
    assert_true(hak_cache_begin());
    hak_cache_flush_all();
    sleepers_cls = cls;
    pthread_barrier_init(&both, NULL, count + 1);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, sleeps, NULL), 0);
    pthread_barrier_wait(&both);
}
static void end_sleepers(pthread_t *threads, unsigned count) {
    pthread_barrier_wait(&both);
    for (unsigned i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
}

/* A pass by the clock is a part of one call of the program, so it recalls from a few threads; the next one goes on. */
static void some_threads_a_pass(void **state) {
    (void)state;
    pthread_t threads[SLEEPERS];
    begin_sleepers(threads, SLEEPERS, OTHER);
    size_t before = held(OTHER);
    assert_true(before >= SLEEPERS * COUNT);
    (void)hak_cache_recall(false);
    size_t first = hak_cache_recall(false);
    assert_true(first != 0 && held(OTHER) + first == before);
    assert_in_range(held(OTHER), (SLEEPERS - PASS_MOST) * COUNT, before - 1);
    for (int i = 0; i < SLEEPERS; i++)
        (void)hak_cache_recall(false);
    assert_int_equal(held(OTHER), SLEEPERS);
    end_sleepers(threads, SLEEPERS);
}

/* What a thread with small objects only has in its bins is worth no look each second. */
static void not_of_those_with_little(void **state) {
    (void)state;
    pthread_t thread;
    begin_sleepers(&thread, 1, 1);
    size_t before = held(1);
    assert_true(before >= COUNT);
    for (int i = 0; i < 3; i++)
        assert_int_equal(hak_cache_recall(false), 0);
    assert_int_equal(held(1), before);
    assert_true(hak_cache_recall(true) != 0);
    end_sleepers(&thread, 1);
}

/* Another thread recalls all the time, so it is at it when this one forks. The child recalls nevertheless. */
static void *recaller(void *arg) {
    while (!atomic_load((_Atomic bool *)arg))
        (void)hak_cache_recall(true);
    return NULL;
}
static bool child_recalls(void) {
    pthread_t thread;
    begin_sleepers(&thread, 1, OTHER);
    bool recalls = hak_cache_recall(true) != 0;
    end_sleepers(&thread, 1);
    return recalls;
}
static void forked_during_a_recall(void **state) {
    (void)state;
    enum { FORKS = 60 };
    static _Atomic bool enough;
    if (HAK_TSAN)
        skip(); /* as above */
    pthread_t thread;
    hak_fork_init();
    assert_true(hak_cache_begin());
    atomic_store(&enough, false);
    assert_int_equal(pthread_create(&thread, NULL, recaller, &enough), 0);
    for (int i = 0; i < FORKS; i++) {
        pid_t child = fork();
        if (child == 0)
            _exit(!child_recalls());
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
    }
    atomic_store(&enough, true);
    pthread_join(thread, NULL);
}

/* Owners that are interrupted at any place, and for long, while another thread takes from their bins. */
enum { OWNERS = 3, OBJS = 48, SIZES = 6, SECONDS = 4 };

static _Atomic bool over;
static _Atomic unsigned long twice, worked;

static void pause_for(uint64_t microseconds) {
    struct timespec time = {0, (long)microseconds * 1000};
    nanosleep(&time, NULL);
}
static void interrupt(int number) {
    (void)number;
    pause_for(300);
}

/* An object has its owner's number in its first word, and 0 while nobody has it. */
static void change(uint64_t *obj, uint64_t from, uint64_t to) {
    if (__atomic_exchange_n(obj, to, __ATOMIC_RELAXED) != from)
        atomic_fetch_add(&twice, 1);
}

/* Bins fill and spill, and run empty. */
static void *owner(void *arg) {
    uint64_t seed = (uintptr_t)arg, *objs[SIZES][OBJS];
    unsigned count[SIZES] = {0};
    while (!atomic_load(&over)) {
        unsigned size = (unsigned)(unit_random(&seed) % SIZES), to = (unsigned)(unit_random(&seed) % OBJS);
        for (; count[size] < to; count[size]++) {
            objs[size][count[size]] = hak_malloc((size_t)48 << size);
            change(objs[size][count[size]], 0, (uintptr_t)arg);
        }
        for (; count[size] > to; count[size]--) {
            change(objs[size][count[size] - 1], (uintptr_t)arg, 0);
            hak_free(objs[size][count[size] - 1]);
        }
        atomic_fetch_add_explicit(&worked, 1, memory_order_relaxed);
    }
    for (unsigned size = 0; size < SIZES; size++)
        while (count[size] > 0) {
            change(objs[size][--count[size]], (uintptr_t)arg, 0);
            hak_free(objs[size][count[size]]);
        }
    hak_cache_check();
    return NULL;
}

/* Nothing but pops and pushes, so its top is on the way most of the time. */
static void *spinner(void *arg) {
    uint64_t *objs[8];
    assert_true(hak_cache_begin());
    while (!atomic_load(&over)) {
        for (int i = 0; i < 8; i++) {
            objs[i] = bin_take(OTHER);
            change(objs[i], 0, (uintptr_t)arg);
        }
        for (int i = 0; i < 8; i++) {
            change(objs[i], (uintptr_t)arg, 0);
            bin_give(objs[i], OTHER);
        }
    }
    hak_cache_check();
    hak_cache_end();
    return NULL;
}

static void no_object_twice(void **state) {
    (void)state;
    pthread_t threads[OWNERS + 1];
    struct sigaction action = {.sa_handler = interrupt, .sa_flags = SA_RESTART};
    sigaction(SIGUSR1, &action, NULL);
    atomic_store(&over, false);
    for (uintptr_t i = 0; i < OWNERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, owner, (void *)(i + 1)), 0);
    assert_int_equal(pthread_create(&threads[OWNERS], NULL, spinner, (void *)(OWNERS + 1)), 0);
    size_t recalled = 0;
    uint64_t seed = 9;
    for (time_t end = time(NULL) + SECONDS; time(NULL) < end;) {
        if (unit_random(&seed) % 2 != 0)
            pthread_kill(threads[unit_random(&seed) % OWNERS], SIGUSR1);
        pause_for(unit_random(&seed) % 100);
        for (int i = 0; i < 8; i++)
            recalled += hak_cache_recall(true);
    }
    atomic_store(&over, true);
    for (int i = 0; i <= OWNERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(twice, 0);
    assert_true(recalled > 1000 && worked > 1000);
    hak_depot_check();
    hak_superslab_check();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE("a thread that sleeps keeps the topmost object of each bin, and goes on", all_but_the_topmost),
        CASE("a thread that was at work since the last look is left alone", only_of_those_that_rest),
        CASE("malloc_trim, want of memory, and the clock reach threads that sleep", whoever_asks),
        CASE("a thread that goes on after malloc_trim empties its bins", trim_is_heard),
        CASE("a pass recalls from a few threads, the next one from others", some_threads_a_pass),
        CASE("those that hold next to nothing are asked only when memory is wanted",
             not_of_those_with_little),
        CASE("in a forked child the lost bins are left alone", in_a_child),
        CASE("the child of a fork during a recall recalls", forked_during_a_recall),
        CASE("an object is never taken and handed out by its owner", no_object_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
