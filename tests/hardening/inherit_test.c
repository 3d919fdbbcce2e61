/* inherit_test.c: what a forked child checks, and states that a fork may interrupt half-way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "allocator/heap/large.h"
#include "allocator/os/os.h"
#include "allocator/os/os_process.h"
#include "allocator/pages/superslab.h"
#include "hardening/canary.h"
#include "hardening/inherit.h"
#include "hardening/sweep.h"
#include "include/hakmem.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SIZE = 1000, COUNT = 1000, ROUNDS = 200 };
static char *objs[COUNT], *first, *behind; /* neighbours */

/* 0, or the signal that ended the child. */
static int child_that(void (*does)(void)) {
    pid_t child = fork();
    if (child == 0) {
        signal(SIGABRT, SIG_DFL); /* cmocka's own */
        does();
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
}

static int find_neighbours(void **state) {
    (void)state;
    for (int i = 0; i < COUNT; i++)
        objs[i] = hak_malloc(SIZE);
    for (int i = 0; i < COUNT && first == NULL; i++)
        for (int k = 0; k < COUNT && first == NULL; k++) {
            const hak_granule *granule = hak_granule_find((uintptr_t)objs[i]);
            if (granule == NULL || objs[k] != objs[i] + granule->size)
                continue;
            first = objs[i];
            behind = objs[k];
        }
    return first == NULL;
}

/* As when the record was copied before another thread freed the object, and the object's page after that. */
static void tear(void) {
    memset(first + SIZE, 0, HAK_CANARY_BYTES);
}
static void mend(void) {
    hak_canary_set(first, SIZE);
}

static void sweeps(void) {
    hak_sweep_all();
}
static void goes_on(void) {
    for (int round = 0; round < ROUNDS; round++) {
        void *more[64];
        for (int i = 0; i < 64; i++)
            more[i] = hak_malloc(SIZE);
        for (int i = 0; i < 64; i++)
            hak_free(more[i]);
    }
}
static void frees_behind(void) {
    hak_free(behind);
}
static void overflows_what_is_new(void) {
    char *obj = NULL;
    while (obj == NULL || hak_inherited((uintptr_t)obj) || hak_granule_find((uintptr_t)obj) == NULL)
        obj = hak_malloc(SIZE);
    *(volatile char *)((uintptr_t)obj + SIZE) = 0; /* UBSan knows how long an object is */
    hak_sweep_all();
}
static void overflows_and_frees(void) {
    objs[5][SIZE + 1] ^= 1;
    hak_free(objs[5]);
}

static void child_of_one_thread(void **state) {
    (void)state;
    if (HAK_TSAN) { /* has its own thread, so no process has only one */
        skip();
    }
    assert_int_equal(child_that(sweeps), 0);
    tear();
    assert_int_equal(child_that(sweeps), SIGABRT);
    assert_int_equal(child_that(frees_behind), SIGABRT);
    mend();
    assert_int_equal(child_that(overflows_what_is_new), SIGABRT);
}

static void *nothing(void *unused) {
    return unused;
}

static void child_of_threads(void **state) {
    (void)state;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, nothing, NULL), 0);
    tear();
    assert_int_equal(child_that(sweeps), 0);
    assert_int_equal(child_that(goes_on), 0);
    assert_int_equal(child_that(frees_behind), 0);
    mend();
    assert_int_equal(child_that(overflows_what_is_new), SIGABRT);
    assert_int_equal(child_that(overflows_and_frees), SIGABRT);
    pthread_join(thread, NULL);
}

static char *wide; /* the copy lacks the object's pages */
static void frees_wide(void) {
    memset(wide, 'x', 100);
    hak_free(wide);
}

static void left_out(void **state) {
    (void)state;
    static const size_t sizes[] = {100000, 200000, 900000};
    static const int advice[] = {MADV_WIPEONFORK, MADV_DONTFORK};
    for (size_t i = 0; i < 6; i++) {
        wide = hak_aligned_alloc(hak_os_page, sizes[i % 3]);
        assert_non_null(wide);
        assert_int_equal(madvise(wide, hak_align_up(sizes[i % 3], hak_os_page), advice[i / 3]), 0);
        assert_int_equal(child_that(frees_wide), 0);
        assert_int_equal(child_that(sweeps), 0);
        assert_int_equal(
            madvise(wide, hak_align_up(sizes[i % 3], hak_os_page), i < 3 ? MADV_KEEPONFORK : MADV_DOFORK), 0);
        hak_free(wide);
    }
}

static uintptr_t hole;
static void has_hole(void) {
    if (hak_os_is_mapped(hole, HAK_GRANULE))
        abort();
}

/* A sanitizer has the address space; beside it regions are reserved: their holes are mapped, without access. */
static void skip_where_reserved(const hak_region *region) {
    if (region->body.reserved)
        skip();
}

/* A signal handler forks in the middle of a change: the memory is gone, but the record does not show it yet. */
static void interrupted(void **state) {
    (void)state;
    hak_region *region = &hak_regions[0];
    skip_where_reserved(region);
    hak_superslab_give_slab(hak_superslab_take_slab(1, 0));
    hak_superslab *superslab = hak_region_record(region, region->base);
    uint32_t idle = ~superslab->used_mask & ~superslab->hollow_mask;
    assert_int_equal(region->kind, HAK_REGION_SLABS);
    assert_int_not_equal(idle, 0);
    hole = superslab->start + (size_t)hak_lowest_bit(idle) * HAK_GRANULE;
    hak_lock_take(&hak_superslab_lock);
    assert_true(hak_region_hollow(region, hole, HAK_GRANULE));
    assert_int_equal(child_that(has_hole), 0);
    assert_int_equal(hak_region_fill(region, hole, HAK_GRANULE), HAK_MAP_DONE);
    hak_lock_give(&hak_superslab_lock);
}

/* The same for a large object. */
static void interrupted_large(void **state) {
    (void)state;
    char *obj = hak_malloc(HAK_MIB);
    hak_region *region = hak_region_find((uintptr_t)obj);
    assert_non_null(region);
    skip_where_reserved(region);
    hole = (uintptr_t)obj;
    hak_lock_take(&hak_large_lock);
    assert_true(hak_region_hollow(region, hole, HAK_GRANULE));
    assert_int_equal(child_that(has_hole), 0);
    assert_int_equal(hak_region_fill(region, hole, HAK_GRANULE), HAK_MAP_DONE);
    hak_lock_give(&hak_large_lock);
    memset(obj, 0, HAK_MIB);
    hak_free(obj);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        {"pages that were left out of the copy, or wiped, are no error in the child", left_out, NULL, NULL,
         NULL},
        {"a hole that a fork in a handler finds stays one", interrupted, NULL, NULL, NULL},
        {"so does one in a large object", interrupted_large, NULL, NULL, NULL},
        {"the child of a process with one thread looks at what it inherits", child_of_one_thread, NULL, NULL,
         NULL},
        {"where there were threads it looks at what is new, and at what it frees", child_of_threads, NULL,
         NULL, NULL},
    };
    return cmocka_run_group_tests(tests, find_neighbours, NULL);
}
