/* fault_test.c: the fault sweep: in each scenario, the k-th call of the OS fails, for every k, alone and with all
 * following calls. A request is then served or refused with ENOMEM. Objects from before are unchanged and can be
 * freed, and nothing is lost. The allocator works again when the OS does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "allocator/cache/cache.h"
#include "allocator/heap/large.h"
#include "allocator/life/reset.h"
#include "allocator/os/os.h"
#include "allocator/pages/mapped_limit.h"
#include "allocator/pages/superslab.h"
#include "allocator/policy.h"
#include "include/hakmem.h"
#include "tests/unit/at_start.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CASE(text, function) {text, function, NULL, NULL, NULL}

enum {
    OBJECTS = 256,
    LATE_PART = 32,
    K_MAX = 5000, /* no scenario makes so many calls; one that does is a runaway */
};

typedef struct object {
    unsigned char *at;
    size_t size;
    unsigned char mark;
} object;

static object objects[OBJECTS];
static unsigned refused; /* requests that got NULL, in this run */

/* Every 4096th byte and the last: those that are checked must be written. */
static void paint(object *it, unsigned mark) {
    it->mark = (unsigned char)mark;
    for (size_t i = 0; i < it->size; i += 4096)
        it->at[i] = it->mark;
    if (it->size != 0)
        it->at[it->size - 1] = it->mark;
}
static void expect_paint(const object *it, size_t size) {
    for (size_t i = 0; i < size; i += 4096)
        if (it->at[i] != it->mark)
            fail_msg("contents changed at byte %zu of %zu", i, it->size);
}

/* True when served; otherwise the refusal was a proper one. */
static bool served(const void *obj) {
    if (obj != NULL)
        return true;
    assert_int_equal(errno, ENOMEM);
    refused++;
    return false;
}

static void make(unsigned i, size_t size) {
    errno = 0;
    objects[i].at = i % 3 == 1 ? hak_calloc(1, size) : hak_malloc(size);
    objects[i].size = size;
    if (!served(objects[i].at))
        return;
    for (size_t at = 0; i % 3 == 1 && at < size; at += 4096)
        assert_int_equal(objects[i].at[at], 0);
    paint(&objects[i], i);
}

static void end(unsigned i) {
    if (objects[i].at == NULL)
        return;
    expect_paint(&objects[i], objects[i].size);
    errno = 99;
    hak_free(objects[i].at);
    assert_int_equal(errno, 99);
    objects[i].at = NULL;
}

static void resize(unsigned i, size_t size) {
    errno = 0;
    unsigned char *moved = hak_realloc(objects[i].at, size);
    if (!served(moved)) {
        if (objects[i].at != NULL)
            expect_paint(&objects[i], objects[i].size); /* untouched and live */
        return;
    }
    size_t kept = objects[i].at == NULL ? 0 : objects[i].size < size ? objects[i].size : size;
    objects[i].at = moved;
    expect_paint(&objects[i], kept);
    objects[i].size = size;
    paint(&objects[i], i + 1);
}

static void end_all(void) {
    for (unsigned i = 0; i < OBJECTS; i++)
        end(i);
}

/* Scenarios. --------------------------------------------------------------------------------------------- */

static void small_objects(void) {
    for (unsigned i = 0; i < OBJECTS; i++)
        make(i, (size_t)i * i % 9000);
    for (unsigned i = 0; i < OBJECTS; i += 2)
        end(i);
    for (unsigned i = 0; i < OBJECTS; i += 2)
        make(i, 16 + i * 64);
    end_all();
}

static void medium_objects(void) {
    for (unsigned i = 0; i < OBJECTS; i++)
        make(i, 10000 + (size_t)i * 960);
    end_all();
}

static void large_objects(void) {
    for (unsigned i = 0; i < 24; i++)
        make(i, (size_t)300000 << (i % 6));
    for (unsigned i = 0; i < 24; i += 2)
        end(i);
    for (unsigned i = 0; i < 24; i += 2)
        make(i, (size_t)700000 << (i % 4));
    end_all();
}

static void resized_objects(void) {
    static const size_t sizes[] = {10,      1000,    40,      30000,  262144, 262145,
                                   2 << 20, 5 << 20, 1 << 20, 100000, 200};
    for (unsigned round = 0; round < sizeof sizes / sizeof sizes[0]; round++)
        for (unsigned i = 0; i < 2; i++)
            resize(i, sizes[(round + i) % (sizeof sizes / sizeof sizes[0])]);
    end_all();
}

static void aligned_objects(void) {
    for (unsigned i = 0; i < 60; i++) {
        size_t align = (size_t)32 << (i % 20);
        void *at = NULL;
        errno = 7;
        int result = hak_posix_memalign(&at, align, 1000 + 5000 * i);
        assert_int_equal(errno, 7);
        assert_true(result == (at == NULL ? ENOMEM : 0));
        assert_int_equal((uintptr_t)at % align, 0);
        objects[i] = (object){at, 1000 + 5000 * i, 0};
        refused += at == NULL;
        if (at != NULL)
            paint(&objects[i], i);
    }
    end_all();
}

static void trimmed(void) {
    for (unsigned i = 0; i < 40; i++)
        make(i, 3000 + i % 7 * 100000);
    for (unsigned i = 0; i < 40; i += 2)
        end(i);
    (void)hak_trim(0);
    for (unsigned i = 0; i < 40; i += 2)
        make(i, 2000);
    end_all();
    (void)hak_trim(0);
}

static void *in_thread(void *unused) {
    (void)unused;
    small_objects();
    return NULL;
}
static void thread_and_exit(void) {
    for (int i = 0; i < 2; i++) {
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, in_thread, NULL), 0);
        pthread_join(thread, NULL);
    }
}

static void forked(void) {
    make(0, 500);
    make(1, 900000);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) { /* its calls of the OS fail as the parent's do */
        signal(SIGABRT, SIG_DFL);
        bool right = true;
        for (int i = 0; i < 50; i++) {
            size_t size = (size_t)i * i * 300;
            unsigned char *obj = hak_malloc(size);
            if (obj != NULL)
                memset(obj, i, size);
            right = right && (obj != NULL || errno == ENOMEM);
            hak_free(obj);
        }
        for (unsigned i = 0; i < 2; i++)
            right = right && (objects[i].at == NULL || objects[i].at[0] == objects[i].mark);
        hak_free(objects[0].at);
        hak_free(objects[1].at);
        _exit(right ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    for (unsigned i = 2; i < 40; i++)
        make(i, (size_t)i * 5000);
    end_all();
}

/* Under a limit of 64 MiB what is free beyond a megabyte is unmapped at once, and mapped again. */
static void freed_under_limit(void) {
    (void)hak_limit_set(64 * HAK_MIB);
    for (unsigned i = 0; i < 24; i++)
        make(i, i % 3 == 0 ? 900000 : 20000 + 10000 * (size_t)i);
    for (unsigned i = 0; i < 24; i += 1 + i % 2)
        end(i);
    for (unsigned i = 0; i < 24; i += 3)
        if (objects[i].at == NULL)
            make(i, 150000);
    end_all();
    (void)hak_limit_set(SIZE_MAX);
}

/* The sweep. --------------------------------------------------------------------------------------------- */

static void check_all(void) {
    hak_depot_check();
    hak_superslab_check();
    hak_large_check();
}

/* When the OS works again the same scenario is served in full. When the thread has given up its cache's objects, no
 * slab and no large object is in use. Where a variant delays frees, delayed objects cannot be told from lost ones:
 * there the memory in use stays within several times the need of one scenario. */
static void expect_nothing_lost(void (*scenario)(void)) {
    check_all();
    refused = 0;
    scenario();
    assert_int_equal(refused, 0);
    hak_cache_end();
    hak_depot_trim();
    check_all();
    assert_true(hak_large_count <= (HAK_POLICY_CLASS_BOUND ? OBJECTS : 0));
    assert_true(hak_superslab_live_bytes <= (HAK_POLICY_CLASS_BOUND ? 128 * HAK_MIB : 0));
}

/* Runs the scenario while the k-th call fails; false when it makes fewer calls. */
static bool run_once(void (*scenario)(void), uint64_t k, uint64_t on) {
    hak_test_reset(HAK_RESET_FRESH);
    memset(objects, 0, sizeof objects);
    refused = 0;
    (void)hak_os_fail_at(k | on);
    scenario();
    bool reached = hak_os_fail_at(0) >= k;
    expect_nothing_lost(scenario);
    return reached;
}

static void sweep(void (*scenario)(void)) {
    unsigned refusals = 0;
    uint64_t k = 1;
    for (; run_once(scenario, k, 0); k++)
        assert_true(k < K_MAX);
    for (uint64_t at = 1; at <= k; at += 1 + at / LATE_PART) /* then a part of the work is done */
        (void)run_once(scenario, at, HAK_OS_FAIL_LATE);
    for (uint64_t from = 1; from <= k; from += 1 + from / 16) { /* from here on, everything fails */
        hak_test_reset(HAK_RESET_FRESH);
        memset(objects, 0, sizeof objects);
        refused = 0;
        (void)hak_os_fail_at(from | HAK_OS_FAIL_ON);
        scenario();
        refusals += refused;
        (void)hak_os_fail_at(0);
        expect_nothing_lost(scenario);
    }
    assert_true(k > 3); /* the scenario does call the OS, and some calls are refused */
    assert_true(refusals > 0);
}

static void sweep_small(void **state) {
    (void)state;
    sweep(small_objects);
}
static void sweep_medium(void **state) {
    (void)state;
    sweep(medium_objects);
}
static void sweep_large(void **state) {
    (void)state;
    sweep(large_objects);
}
static void sweep_realloc(void **state) {
    (void)state;
    sweep(resized_objects);
}
static void sweep_aligned(void **state) {
    (void)state;
    sweep(aligned_objects);
}
static void sweep_trim(void **state) {
    (void)state;
    sweep(trimmed);
}
static void sweep_limit(void **state) {
    (void)state;
    sweep(freed_under_limit);
}
static void sweep_threads(void **state) {
    (void)state;
    sweep(thread_and_exit);
}
static void sweep_fork(void **state) {
    (void)state;
    sweep(forked);
}

/* Runs in a process of its own: exit 0 when all requests were served, 1 when some were refused; any other status is
 * wrong. */
static int after_start(void) {
    uint64_t seen = hak_os_fail_at(0); /* the OS works again */
    bool all = true;
    for (int round = 0; round < 2; round++)
        for (size_t size = 1; size < 4000000; size *= 3) {
            errno = 0;
            unsigned char *obj = hak_malloc(size);
            if (obj == NULL && errno != ENOMEM)
                return 3;
            if (obj != NULL)
                memset(obj, 1, size);
            else
                all = false;
            hak_free(obj);
        }
    return seen == 0 ? 4 : all ? 0 : 1;
}

static void sweep_start(void **state) {
    (void)state;
    uint64_t on[] = {0, HAK_OS_FAIL_ON};
    for (int which = 0; which < 2; which++)
        for (uint64_t k = 1; k <= 12; k++) { /* a start makes fewer calls */
            int status = at_start_run(k | on[which], "after start");
            if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
                fail_msg("call %u: status %#x", (unsigned)k, status);
        }
}

int main(int argc, char **argv) {
    (void)argv;
    if (argc > 1)
        return after_start();
    const struct CMUnitTest tests[] = {
        CASE("a start in which a call of the OS fails is made good by the next request", sweep_start),
        CASE("small objects are served or refused at every failure", sweep_small),
        CASE("medium objects are served or refused at every failure", sweep_medium),
        CASE("large objects are served or refused at every failure", sweep_large),
        CASE("a refused realloc leaves the object as it was", sweep_realloc),
        CASE("a refused posix_memalign says ENOMEM and keeps errno", sweep_aligned),
        CASE("a trim that the OS refuses loses nothing", sweep_trim),
        CASE("under a limit, what cannot be unmapped is not lost", sweep_limit),
        CASE("threads begin and end at every failure", sweep_threads),
        CASE("a forked child and its parent are served or refused at every failure", sweep_fork),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
