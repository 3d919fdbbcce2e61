/* guard_test.c: where the guard of a large object lies, and what happens when the OS refuses to open a guarded range
 * again. The kernel can always remove its markers, so these tests are about guards that are mappings without access. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "allocator/heap/large.h"
#include "allocator/os/os.h"
#include "allocator/policy.h"
#include "hardening/guard.h"
#include "include/hakmem.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Regions become accessible in large steps: at their end there may be room that was never shut, where an object
 * needs no call of the OS. An object there is kept and the trial is repeated, at most so often. */
enum { SIZE = 300 * HAK_KIB, FREED = 200, TRIALS = 100 };

/* Before each test: the kernel has no markers, because the third memory call of the trial fails. */
static int without_markers(void **state) {
    (void)state;
    hak_free(hak_malloc(1));
    (void)hak_os_fail_at(3);
    hak_guard_init();
    (void)hak_os_fail_at(0);
    assert_false(hak_guard_has_markers());
    return 0;
}

/* malloc or realloc to `size` bytes while the OS refuses everything. */
static void *refused(void *obj, size_t size) {
    (void)hak_os_fail_at(1 | HAK_OS_FAIL_ON);
    errno = 0;
    void *got = hak_realloc(obj, size);
    assert_true(hak_os_fail_at(0) > 0); /* the OS was asked */
    if (got == NULL)
        assert_int_equal(errno, ENOMEM);
    hak_large_check();
    return got;
}

/* More than the quarantine keeps: places that were shut when their objects were freed are free again. Before a
 * request is refused, the quarantine gives back what it holds. */
static void a_new_object(void **state) {
    (void)state;
    for (int i = 0; i < FREED; i++)
        hak_free(hak_malloc(SIZE));
    assert_int_not_equal(atomic_load_explicit(&hak_keep_bytes, memory_order_relaxed), 0);
    size_t kept = 0;
    for (void *obj; (obj = refused(NULL, SIZE)) != NULL; assert_in_range(++kept, 1, TRIALS))
        memset(obj, 1, SIZE);
    assert_int_equal(atomic_load(&hak_large_count), kept);
    assert_int_equal(atomic_load_explicit(&hak_keep_bytes, memory_order_relaxed), 0);
    char *obj = hak_malloc(SIZE);
    assert_non_null(obj);
    memset(obj, 1, SIZE);
    hak_free(obj);
}

static void assert_filled(const char *obj, int byte) {
    for (size_t i = 0; i < SIZE; i++)
        assert_int_equal(obj[i], byte);
}

/* The object would grow into the memory that was shut behind it when it shrank. */
static void *made_shorter(void) {
    char *obj = hak_malloc(2 * SIZE);
    memset(obj, 7, SIZE);
    assert_ptr_equal(hak_realloc(obj, SIZE), obj);
    return obj;
}

static void an_object_that_grows(void **state) {
    (void)state;
    const size_t more = SIZE + 4 * hak_os_page;
    char *obj = made_shorter(), *moved;
    for (int kept = 0; (moved = refused(obj, more)) != NULL; obj = made_shorter()) {
        assert_ptr_not_equal(moved, obj);
        assert_filled(moved, 7);
        memset(moved, 8, more);
        assert_in_range(++kept, 1, TRIALS);
    }
    assert_int_equal(hak_usable_size(obj), SIZE);
    assert_filled(obj, 7);
    char *grown = hak_realloc(obj, more);
    assert_non_null(grown);
    memset(grown, 8, more);
    hak_free(grown);
}

/* The largest request that a slab serves, when it asks for a canary, has none here: it fills its last page. */
static void at_the_last_page(void **state) {
    (void)state;
    char *made = hak_malloc(HAK_SLAB_SIZE_MAX), *aligned = hak_aligned_alloc(HAK_MIB, 16 * hak_os_page);
    char *shorter = hak_realloc(hak_malloc(2 * HAK_SLAB_SIZE_MAX), HAK_SLAB_SIZE_MAX);
    assert_int_equal(hak_large_capacity(made), HAK_SLAB_SIZE_MAX);
    assert_int_equal(hak_large_capacity(aligned), 16 * hak_os_page);
    assert_int_equal(hak_large_capacity(shorter), HAK_SLAB_SIZE_MAX);
    hak_free(made);
    hak_free(aligned);
    hak_free(shorter);
}

/* Another owner's memory in the odd granules of a superslab whose free granules are hollow. */
static char *strangers[HAK_SUPERSLAB_GRANULES];
static void strangers_come(uintptr_t superslab) {
    for (unsigned i = 1; i < HAK_SUPERSLAB_GRANULES; i += 2) {
        void *at = (void *)(superslab + i * (uintptr_t)HAK_GRANULE);
        /* A direct system call: ThreadSanitizer lets libc's function map nothing there. */
        void *got = (void *)syscall(SYS_mmap, at, HAK_GRANULE, PROT_READ | PROT_WRITE,
                                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        strangers[i] = got != MAP_FAILED ? got : NULL; /* a slab is there */
        if (strangers[i] != NULL)
            memset(strangers[i], (int)i, HAK_GRANULE);
    }
}

/* An object that is not sampled. NULL: no memory. */
static void *slot(size_t size) {
    void *obj = hak_malloc(size);
    if (obj == NULL || hak_region_find((uintptr_t)obj) != NULL)
        return obj;
    hak_free(obj);
    return slot(size);
}

static void a_slab_among_strangers(void **state) {
    (void)state;
    void *first = slot(16);
    if (hak_region_find((uintptr_t)first)
            ->body.reserved) { /* a sanitizer's shadow: hollow memory stays reserved */
        skip();
    }
    (void)hak_superslab_hollow();
    strangers_come(hak_align_down((uintptr_t)first, HAK_SUPERSLAB));
    /* Slabs of one granule; the OS may refuse those where other mappings lie. */
    for (size_t size = 32; size < 250; size += 16)
        hak_free(slot(size));
    unsigned seen = 0;
    for (unsigned i = 0; i < HAK_SUPERSLAB_GRANULES; i++) {
        for (size_t at = 0; strangers[i] != NULL && at < HAK_GRANULE; at += hak_os_page)
            assert_int_equal(strangers[i][at], i);
        seen += strangers[i] != NULL;
        if (strangers[i] != NULL)
            assert_int_equal(munmap(strangers[i], HAK_GRANULE), 0);
    }
    assert_true(seen > HAK_SUPERSLAB_GRANULES / 4);
    hak_free(first);
}

#define CASE(text, function) {text, function, without_markers, NULL, NULL}

/* Bytes from one object to the next in the middle of a few hundred, of which some lie side by side. */
static size_t least_distance(void *objects[FREED]) {
    size_t least = SIZE_MAX;
    for (int i = 0; i < FREED; i++) {
        objects[i] = hak_malloc(SIZE);
        assert_non_null(objects[i]);
    }
    for (int i = 1; i < FREED; i++) {
        uintptr_t here = (uintptr_t)objects[i], before = (uintptr_t)objects[i - 1];
        if (here > before)
            least = hak_min(least, here - before);
    }
    return least;
}

/* SIZE is eleven twelfths of five granules: there is room for the guard already. */
static unsigned maps_left(void) {
    unsigned left = 0;
    while (hak_guard_maps_take(1))
        left++;
    hak_guard_maps_give(left);
    return left;
}

/* Guards of slabs that are mappings of their own stay for good, so half of the mappings is left to sampled objects. */
static void sampled_ones_have_half(void **state) {
    (void)state;
    hak_guard_reset();
    unsigned half = maps_left() / 2 + 1;
    assert_true(hak_guard_maps_take(half));
    unsigned left = maps_left();
    for (size_t size = 1300; size < 20000; size += 700)
        hak_free(slot(size)); /* a new slab each */
    assert_int_equal(maps_left(), left);
    hak_guard_maps_give(half);
}

static void scarce(void **state) {
    (void)state;
    static void *loose[FREED], *close[FREED];
    hak_guard_reset(); /* the tests before were refused memory */
    size_t granules = hak_align_up(SIZE, HAK_GRANULE);
    assert_in_range(least_distance(loose), granules + HAK_GRANULE, 2 * granules);
    hak_guard_scarce();
    assert_int_equal(least_distance(close), granules);
    hak_guard_reset();
    for (int i = 0; i < FREED; i++) {
        hak_free(loose[i]);
        hak_free(close[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        {"what somebody else has mapped where memory was given back is never shut", a_slab_among_strangers,
         NULL, NULL, NULL},
        CASE("no open page lies behind the last one of a large object, however it was made",
             at_the_last_page),
        CASE("a new object in a place that the OS will not open is no memory", a_new_object),
        CASE("guards of slabs leave half of the mappings to sampled objects", sampled_ones_have_half),
        CASE("where address space is scarce, no gap lies between large objects", scarce),
        CASE("an object that the OS will not let grow stays as it was", an_object_that_grows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
