/* holes_test.c: what a stale pointer or a leak must not be able to use: memory that realloc leaves behind, memory
 * that calloc has not checked, objects of zero bytes that use up the supply of samples. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "allocator/policy.h"
#include "hardening/canary.h"
#include "hardening/look.h"
#include "hardening/sample.h"
#include "include/hakmem.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* The same site for all: except for its first few objects none is sampled. */
static HAK_NOINLINE char *make(size_t size) {
    char *volatile obj = hak_malloc(size);
    return obj;
}
static HAK_NOINLINE char *make_unsampled(size_t size) {
    hak_place place;
    char *obj;
    do
        obj = make(size);
    while (!hak_ledger_find(obj, &place));
    return obj;
}

static void tail_rests(void **state) {
    (void)state;
    enum { LONG = 1 << 20, SHORT = 300 * 1024, AGAIN = 700 * 1024, OTHERS = 64 };
    char *obj = make(LONG), *others[OTHERS];
    memset(obj, 'S', LONG);
    assert_ptr_equal(hak_realloc(obj, SHORT), obj);
    for (int i = 0; i < OTHERS; i++) {
        others[i] = make(SHORT);
        assert_true(others[i] + SHORT <= obj || others[i] >= obj + LONG);
    }
    /* When the object grows again the memory belongs to it again, and is zero: no contents stayed. */
    assert_ptr_equal(hak_realloc(obj, AGAIN), obj);
    for (size_t i = SHORT; i < AGAIN; i++)
        assert_int_equal(obj[i], 0);
    for (int i = 0; i < OTHERS; i++)
        hak_free(others[i]);
    hak_free(obj);
}

static void no_old_canary(void **state) {
    (void)state;
    static const uint64_t none;
    size_t size = 300001;
    char *obj = make(size);
    for (int i = 0; i < 100; i++) {
        size_t before = size;
        size += 16 + (size_t)(i * 7) % 13;
        char *now = hak_realloc(obj, size);
        if (now == obj)
            assert_memory_equal(obj + before, &none, sizeof none);
        obj = now;
    }
    for (int i = 0; i < 100; i++) { /* and no contents in memory that was taken away and comes back */
        size_t before = size;
        size -= 40;
        obj = hak_realloc(obj, size);
        obj = hak_realloc(obj, before + 100);
        for (size_t at = size; at < before + 100; at++)
            assert_int_equal(obj[at], 0);
        obj = hak_realloc(obj, size);
    }
    hak_free(obj);
}

static void calloc_looks(void **state) {
    (void)state;
    enum { SIZE = 300 * 1024, COUNT = 24, TRIES = 64 };
    char *first[TRIES], *objs[COUNT];
    int made = 0;
    const hak_region *region;
    do { /* until the end of the mapped memory is not also the end of the used memory */
        assert_in_range(made, 0, TRIES - 1);
        first[made] = make(SIZE);
        region = hak_region_find((uintptr_t)first[made++]);
        assert_non_null(region);
    } while (region->used == region->body.mapped);
    unsigned written = 0;
    for (size_t at = region->used; at < region->body.mapped; at += 4096, written++)
        *(volatile char *)(region->base + at) = 'x'; /* that of a wild pointer */
    assert_int_not_equal(written, 0);
    for (int i = 0; i < COUNT; i++) {
        objs[i] = hak_calloc(1, SIZE);
        for (size_t at = 0; at < SIZE; at++)
            assert_int_equal(objs[i][at], 0);
    }
    for (int i = 0; i < COUNT; i++)
        hak_free(objs[i]);
    while (made > 0)
        hak_free(first[--made]);
}

/* Runs in a child, which may die; returns 0 in the child. */
static pid_t begin_child(void) {
    pid_t child = fork();
    if (child == 0) {
        struct rlimit no_core = {0, 0};
        setrlimit(RLIMIT_CORE, &no_core);
        signal(SIGABRT, SIG_DFL); /* cmocka's own */
        signal(SIGSEGV, SIG_DFL);
        (void)close(STDERR_FILENO);
    }
    return child;
}

/* The signal that ended the child; otherwise its exit status, negated. */
static int end_of(pid_t child) {
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? WTERMSIG(status) : -WEXITSTATUS(status);
}

/* The signal that ends a child. The child shrinks an object in place, frees it, writes to its former place, and goes
 * on. */
static int after_stale_write(size_t size, size_t shrunk, size_t at) {
    pid_t child = begin_child();
    if (child == 0) {
        char *obj = make_unsampled(size);
        memset(obj, 1, size);
        if (hak_realloc(obj, shrunk) != obj)
            _exit(1);
        hak_free(obj);
        ((volatile char *)obj)[at] = 'x';
        for (int i = 0; i < 4000; i++)
            hak_free(make(size));
        _exit(0);
    }
    return end_of(child);
}

static void wide_slots_are_looked_at(void **state) {
    (void)state;
    assert_int_equal(after_stale_write(4000, 1200, 3000), SIGABRT);
    assert_int_equal(after_stale_write(2000, 600, 1900), SIGABRT);
    assert_int_equal(after_stale_write(30000, 9000, 29000), SIGABRT);
    assert_int_equal(after_stale_write(200000, 60000, 190000), SIGABRT);
    assert_int_equal(after_stale_write(50000, 50000, 49999), SIGABRT);
}

/* KiB of resident anonymous memory: pages that were only read do not count. */
static long resident(void) {
    char line[256];
    long kib = -1;
    FILE *status = fopen("/proc/self/status", "r");
    assert_non_null(status);
    while (kib < 0 && fgets(line, sizeof line, status) != NULL)
        (void)sscanf(line, "RssAnon: %ld kB", &kib);
    assert_int_equal(fclose(status), 0);
    return kib;
}

static HAK_NOINLINE char *make_zeroed_unsampled(size_t size) {
    char *volatile obj;
    do
        obj = hak_calloc(1, size);
    while (hak_sample_find(obj) != NULL);
    return obj;
}

static const size_t WIDE[] = {32 * 1024, 65536, 100001, 200 * 1024, 300001, 999999};

/* A page for each would be COUNT pages; the heap itself needs far less than half of that. */
static void callocs_end_is_left_alone(void **state) {
    (void)state;
    enum { COUNT = 2000 };
    static char *objs[COUNT];
    if (HAK_TSAN) /* a sanitizer's notes of each access count, too */
        skip();
    for (size_t i = 0; i < sizeof WIDE / sizeof *WIDE; i++) {
        hak_free(make_zeroed_unsampled(WIDE[i]));
        long before = resident();
        for (int k = 0; k < COUNT; k++)
            assert_non_null(objs[k] = hak_calloc(1, WIDE[i]));
        assert_true(resident() - before < COUNT * (long)(hak_os_page / HAK_KIB) / 2);
        for (int k = 0; k < COUNT; k++)
            hak_free(objs[k]);
    }
}

/* As sweeps see it. */
static void realloc_sets_a_canary(void **state) {
    (void)state;
    enum { SIZE = 60000 };
    char *obj = make_zeroed_unsampled(SIZE);
    hak_place place;
    assert_true(hak_ledger_find(obj, &place));
    hak_view slot = {.record = place.record, .start = (uintptr_t)obj, .size = place.size, .cls = 1};
    uint32_t word;
    assert_null(hak_look(&slot, &word));
    assert_int_not_equal(word & HAK_RECORD_BARE, 0);
    assert_ptr_equal(hak_realloc(obj, SIZE - 100), obj);
    assert_null(hak_look(&slot, &word));
    assert_int_equal(word & HAK_RECORD_BARE, 0);
    hak_free(obj);
}

/* The last owner's canary may still lie behind it. */
static void callocs_end_in_used_memory(void **state) {
    (void)state;
    enum { ROUNDS = 400, SIZE = 300001 };
    for (int i = 0; i < ROUNDS; i++) {
        char *obj = hak_malloc(SIZE);
        memset(obj, 'x', SIZE);
        hak_free(obj);
        obj = hak_calloc(1, SIZE);
        assert_int_equal(obj[SIZE - 1], 0);
        hak_free(obj); /* reports an error behind it */
    }
}

enum { BY_FREE, BY_REALLOC, AFTER_REALLOC, BY_ENDS };

enum { NO_WRITE = -1 };

/* The signal that ends a child which writes `value` behind an object from calloc; with NO_WRITE it does not write. */
static int after_overflow(size_t size, int value, int by) {
    pid_t child = begin_child();
    if (child == 0) {
        char *volatile obj = make_zeroed_unsampled(size + (by == AFTER_REALLOC));
        if (by == AFTER_REALLOC)
            obj = hak_realloc(obj, size); /* from now on it has a canary */
        if (value != NO_WRITE)
            *(volatile char *)(obj + size) = (char)value;
        if (by == BY_REALLOC)
            obj = hak_realloc(obj, size + 1);
        else
            hak_free(obj);
        _exit(0);
    }
    return end_of(child);
}

static void overflow_of_callocs_is_found(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof WIDE / sizeof *WIDE; i++) {
        if (WIDE[i] % hak_os_page == 0 && WIDE[i] > HAK_SLAB_SIZE_MAX)
            continue; /* a guard is there */
        for (int by = 0; by < BY_ENDS; by++) {
            assert_int_equal(after_overflow(WIDE[i], 'x', by), SIGABRT);
            assert_int_equal(after_overflow(WIDE[i], NO_WRITE, by), 0);
        }
        assert_int_equal(after_overflow(WIDE[i], 0, AFTER_REALLOC), SIGABRT);
    }
    assert_int_equal(after_overflow(20000, 0, BY_FREE), SIGABRT);
}

/* More of them than the pool has places for samples. */
static void nothings_leave_samples(void **state) {
    (void)state;
    enum { NOTHINGS = 6000 };
    static void *nothings[NOTHINGS];
    for (int i = 0; i < NOTHINGS; i++) {
        assert_non_null(nothings[i] = hak_malloc(0));
        assert_non_null(hak_sample_find(nothings[i]));
        assert_true(i == 0 || nothings[i] != nothings[i - 1]);
    }
    void *volatile here = hak_malloc(100), *volatile there = hak_malloc(200);
    assert_non_null(hak_sample_find(here));
    assert_non_null(hak_sample_find(there));
    for (int i = 0; i < NOTHINGS; i++)
        hak_free(nothings[i]);
    hak_free(here);
    hak_free(there);
}

/* Two threads at one record: the second one learns of the first. */
static void resize_is_exclusive(void **state) {
    (void)state;
    hak_origin origin = {HAK_FAMILY_MALLOC, HAK_ALIGN_LOG2, 0, 0};
    uint32_t live = hak_record_live(origin) | 100u << HAK_RECORD_SIZE_SHIFT;
    hak_record record = live;
    assert_true(hak_record_hold_live(&record, live));
    assert_false(hak_record_hold_live(&record, live));
    assert_true(hak_record_live_again(&record, live));
    hak_record_hold(&record, hak_record_freed(7, live));
    assert_false(hak_record_hold_live(&record, live));
    assert_false(hak_record_live_again(&record, live));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        {"nobody else gets what realloc takes from a large object, while that lives", tail_rests, NULL, NULL,
         NULL},
        {"no canary stays behind in what realloc adds", no_old_canary, NULL, NULL, NULL},
        {"calloc gives zeros where somebody wrote to memory that was never used", calloc_looks, NULL, NULL,
         NULL},
        {"a write behind what a wide slot's last owner had is found", wide_slots_are_looked_at, NULL, NULL,
         NULL},
        {"calloc leaves the end of a wide object alone", callocs_end_is_left_alone, NULL, NULL, NULL},
        {"a bare object that realloc changes has a canary", realloc_sets_a_canary, NULL, NULL, NULL},
        {"calloc of used memory is no overflow", callocs_end_in_used_memory, NULL, NULL, NULL},
        {"an overflow of a wide object of calloc's is found", overflow_of_callocs_is_found, NULL, NULL, NULL},
        {"objects of no bytes do not use up what samples need", nothings_leave_samples, NULL, NULL, NULL},
        {"of a resize and a free at once one is told", resize_is_exclusive, NULL, NULL, NULL},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
