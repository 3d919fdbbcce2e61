/* named_test.c: errors that were reported under another name, or not found. */
#include "tests/unit/unit.h"

#include "allocator/base/base.h"
#include "allocator/base/bits.h"
#include "allocator/life/reclaim.h"
#include "allocator/life/reset.h"
#include "allocator/pages/tag.h"
#include "hardening/advice.h"
#include "hardening/error_names.h"
#include "hardening/locate.h"
#include "hardening/quarantine.h"
#include "include/hakmem.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HOLLOW_ONES = 2000 };

typedef struct claim {
    size_t made, said;
} claim;

static void end_with_another_alignment(void *arg) {
    const claim *its = arg;
    void *obj = hak_memalign(its->made, 100);
    hak_free_aligned_sized(obj, its->said, 100);
}

/* 2^38 was taken for 2^6, and a value that is no power of two for 2^30. */
static void alignments(void **state) {
    (void)state;
    for (unsigned made = 4; made <= 22; made += 3)
        for (unsigned said = 0; said < 64; said++) {
            claim its = {(size_t)1 << made, (size_t)1 << said};
            if (said == made || (said < 4 && made == 4)) /* the usual alignment, which every object has */
                assert_string_equal(unit_stderr_of(end_with_another_alignment, &its), "");
            else
                unit_expect_death(end_with_another_alignment, &its,
                                  "hakmem: alignment mismatch: free_aligned_sized(");
        }
    static const size_t no_powers[] = {0, 3, 24, 96, 4097, ((size_t)1 << 38) + 64, SIZE_MAX};
    for (size_t i = 0; i < sizeof no_powers / sizeof no_powers[0]; i++)
        unit_expect_death(end_with_another_alignment, &(claim){64, no_powers[i]},
                          "hakmem: alignment mismatch: ");
}

static void end_with_another_size(void *arg) {
    hak_free_sized(hak_malloc(100), *(size_t *)arg);
}

/* Sizes that do not fit into the claim's 48 bits. */
static void sizes(void **state) {
    (void)state;
    for (unsigned bit = 47; bit < 64; bit++) {
        size_t near[] = {((size_t)1 << bit) + 100, ((size_t)1 << bit) - 1, (size_t)1 << bit, SIZE_MAX << bit};
        for (size_t i = 0; i < sizeof near / sizeof near[0]; i++)
            unit_expect_death(end_with_another_size, &near[i], "hakmem: size mismatch: free_sized(");
    }
}

static void end_it(void *obj) {
    hak_free(obj);
}

/* Objects began and ended at every granule before. The start of each granule of a live object lies inside the
 * object. That holds for the last granule, too, of which the object has only a part. */
static void inside_large(void **state) {
    (void)state;
    enum { OBJECTS = 24, ROUNDS = 60 };
    char *objs[OBJECTS] = {NULL};
    size_t size[OBJECTS] = {0};
    uint64_t seed = 1;
    for (int i = 0; i < ROUNDS * OBJECTS; i++) {
        int k = (int)(unit_random(&seed) % OBJECTS);
        hak_free(objs[k]);
        size[k] = 300 * HAK_KIB + unit_random(&seed) % (400 * HAK_KIB);
        objs[k] = hak_malloc(size[k]);
        assert_non_null(objs[k]);
    }
    for (int k = 0; k < OBJECTS; k++)
        for (size_t at = HAK_GRANULE; objs[k] != NULL && at < size[k]; at += HAK_GRANULE)
            unit_expect_death(end_it, objs[k] + at, "hakmem: interior free: free(");
}

/* Without a quarantine of large objects their granules are used again at once, by objects that begin elsewhere. */
static void run_reduced(char **argv) {
    if (getenv("HAKMEM_HARDENING") != NULL)
        return;
    setenv("HAKMEM_HARDENING", "quarantine:off", 1);
    (void)execv("/proc/self/exe", argv);
    abort();
}

/* The freed memory has gone, and with it the records of its slots. */
static void hollow(void **state) {
    (void)state;
    static char *objs[HOLLOW_ONES];
    static const size_t sizes[] = {20, 1000, 40000};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        for (int i = 0; i < HOLLOW_ONES; i++)
            assert_non_null(objs[i] = hak_malloc(sizes[s]));
        for (int i = 0; i < HOLLOW_ONES; i++)
            hak_free(objs[i]);
        for (int how = 0; how < HAK_RECLAIMS; how++)
            (void)hak_reclaim_memory(sizes[s] * HOLLOW_ONES, (hak_reclaim)how);
        for (int i = HOLLOW_ONES / 4; i < HOLLOW_ONES; i += HOLLOW_ONES / 4) {
            unit_expect_death(end_it, objs[i], "hakmem: double free: free(");
            unit_expect_death(end_it, objs[i] + 1, "hakmem: misaligned free: free(");
        }
    }
}

/* A small heap has no memory there: an access below the first slab is reported with the slab's first slot. Random
 * numbers begin alike each time, so some are drawn first. */
static void before_the_first_slab(void **state) {
    (void)state;
    unsigned seen = 0;
    for (unsigned drawn = 0; drawn < 16; drawn++) {
        hak_test_reset(HAK_RESET_FRESH);
        for (unsigned i = 0; i < drawn; i++)
            (void)hak_random_next();
        void *obj;
        hak_place place;
        do
            obj = hak_malloc(64);
        while (!hak_ledger_find(obj, &place)); /* a sampled object */
        uintptr_t superslab = hak_align_down((uintptr_t)obj, HAK_SUPERSLAB), first = superslab;
        while (hak_tag_of((void *)first) == HAK_TAG_NONE)
            first += HAK_GRANULE;
        for (uintptr_t addr = first - 1; addr >= superslab && addr >= first - HAK_GRANULE; addr -= HAK_KIB) {
            hak_located found;
            assert_true(hak_locate(addr, &found));
            assert_int_equal(found.where, HAK_WHERE_SLOT);
            assert_int_equal(found.obj, first);
            seen++;
        }
        hak_free(obj);
    }
    assert_true(seen >= 64);
}

/* Slabs lie apart. The page before a slab is its guard: an access below the slab's start is reported with the slab's
 * first slot. An address further before it lies behind the slab before. */
static void between_slabs(void **state) {
    (void)state;
    static const size_t sizes[] = {16, 100, 300, 700, 1500, 3000, 6000, 12000};
    unsigned seen = 0;
    for (unsigned drawn = 0; drawn < 16; drawn++) {
        hak_test_reset(HAK_RESET_FRESH);
        for (unsigned i = 0; i < drawn; i++)
            (void)hak_random_next();
        uintptr_t superslab = 0;
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            void *obj;
            hak_place place;
            do
                obj = hak_malloc(sizes[i]);
            while (!hak_ledger_find(obj, &place));
            superslab = hak_align_down((uintptr_t)obj, HAK_SUPERSLAB);
        }
        bool slab_before = false;
        for (uintptr_t at = superslab; at < superslab + HAK_SUPERSLAB; at += HAK_GRANULE) {
            bool slab = hak_tag_of((void *)at) != HAK_TAG_NONE;
            if (slab && slab_before && hak_tag_of((void *)(at - HAK_GRANULE)) == HAK_TAG_NONE) {
                hak_located found;
                assert_true(hak_locate(at - 1, &found) && hak_locate(at - hak_os_page, &found));
                assert_int_equal(found.obj, at);
                assert_true(hak_locate(at - hak_os_page - 1, &found));
                assert_true(found.obj < at);
                seen++;
            }
            slab_before |= slab;
        }
    }
    assert_true(seen >= 16);
}

/* What a report says last, for each error, of an object that is not sampled and of one that is. */
static void advice(void **state) {
    (void)state;
    static const struct {
        const char *error, *text, *sampled;
    } rows[] = {{HAK_ERROR_DOUBLE_FREE, "adds both stacks", "`freed` is the first"},
                {HAK_ERROR_INVALID_FREE, "never came from malloc", NULL},
                {HAK_ERROR_INTERIOR_FREE, "was moved since malloc", NULL},
                {HAK_ERROR_MISALIGNED_FREE, "was moved since malloc", NULL},
                {HAK_ERROR_REALLOC, "not that of a live object; ", "not that of a live object: "},
                {HAK_ERROR_USABLE, "not that of a live object; ", "not that of a live object: "},
                {HAK_ERROR_FAMILY, "HAKMEM_HARDENING=family:off", NULL},
                {HAK_ERROR_SIZE, "HAKMEM_HARDENING=size:off", NULL},
                {HAK_ERROR_ALIGNMENT, "HAKMEM_HARDENING=alignment:off", NULL},
                {HAK_ERROR_OVERFLOW, "stops at the very instruction", "did not reach the guard"},
                {HAK_ERROR_UNDERFLOW, "stops at the very instruction", "did not reach the guard"},
                {HAK_ERROR_WRITE, "and says who freed the object", NULL},
                {HAK_ERROR_BOUNDS, "adds who made the object", "`allocated` says who made"},
                {HAK_ERROR_USE, "adds who freed the object", "`freed` says who ended"},
                {"another error", "tools/explain", NULL}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_non_null(strstr(hak_advice(rows[i].error, false), rows[i].text));
        assert_non_null(strstr(hak_advice(rows[i].error, true),
                               rows[i].sampled != NULL ? rows[i].sampled : rows[i].text));
    }
}

int main(int argc, char **argv) {
    (void)argc;
    run_reduced(argv);
    const struct CMUnitTest tests[] = {
        CASE("free_aligned_sized with another alignment is an alignment mismatch", alignments),
        CASE("free_sized with another size is a size mismatch", sizes),
        CASE("an object freed twice is named though its memory has gone", hollow),
        CASE("an address before the first slab of all is one before its first slot", before_the_first_slab),
        CASE("the page before a slab belongs to it, what lies before that to the slab before", between_slabs),
        CASE("every granule of a large object is inside of it", inside_large),
        CASE("each error has its advice", advice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
