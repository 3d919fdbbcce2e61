/* surface_jemalloc.c: jemalloc's own calls beside malloc's, mixed as in a program made for jemalloc: one heap serves
 * both. Run under each variant's .so, before a library that has these calls too, and linked with it. Prints the
 * first line that is wrong; exit 1. */
#include "include/hakmem_jemalloc.h"
#include "tests/surface/want.h"

#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Small, of the coarse classes, large. */
static const size_t sizes[] = {1, 16, 100, 1000, 1024, 5000, 100000, 262144, 262145, 3000001};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

static bool all(const unsigned char *bytes, size_t from, size_t to, unsigned char is) {
    for (size_t i = from; i < to; i++)
        if (bytes[i] != is)
            return false;
    return true;
}

/* Each family frees the other's objects; an object has the size that nallocx returns, and sdallocx accepts that
 * size. */
static void one_heap(size_t size) {
    WANT(nallocx(size, 0) >= size);
    void *obj = malloc(size);
    WANT(sallocx(obj, 0) >= size && sallocx(obj, 0) == malloc_usable_size(obj));
    sdallocx(obj, size, 0);
    dallocx(malloc(size), 0);
    obj = mallocx(size, 0);
    WANT(obj != NULL && malloc_usable_size(obj) == nallocx(size, 0) && sallocx(obj, 0) == nallocx(size, 0));
    memset(obj, 1, sallocx(obj, 0));
    free(obj);
    obj = mallocx(size, MALLOCX_TCACHE_NONE | MALLOCX_ARENA(0));
    memset(obj, 2, nallocx(size, 0));
    obj = realloc(obj, size + 100);
    WANT(all(obj, 0, size, 2));
    obj = rallocx(obj, 2 * size, MALLOCX_TCACHE(3));
    WANT(all(obj, 0, size, 2) && sallocx(obj, 0) >= 2 * size);
    sdallocx(obj, 2 * size, MALLOCX_TCACHE(3));
    sdallocx(mallocx(size, 0), nallocx(size, 0), 0);
}

/* Whatever ends or moves an object, it is gone: mallinfo2 counts large ones. */
static void nothing_stays(void) {
    enum { LARGE = 5 << 20, ALIGN = 1 << 21 };
    struct mallinfo2 before = mallinfo2();
    dallocx(mallocx(LARGE, 0), 0);
    sdallocx(mallocx(LARGE, 0), LARGE, 0);
    void *obj = rallocx(mallocx(LARGE, 0), 3 * LARGE, MALLOCX_ALIGN(ALIGN));
    WANT(obj != NULL && mallinfo2().hblks == before.hblks + 1);
    dallocx(obj, MALLOCX_ALIGN(ALIGN));
    WANT(mallinfo2().hblks == before.hblks);
}

static void alignments(size_t size) {
    for (int lg = 0; lg <= 21; lg += 3) {
        size_t align = (size_t)1 << lg;
        void *obj = mallocx(size, MALLOCX_LG_ALIGN(lg) | MALLOCX_ZERO);
        WANT(obj != NULL && (uintptr_t)obj % align == 0 && all(obj, 0, size, 0));
        WANT(sallocx(obj, 0) == nallocx(size, MALLOCX_LG_ALIGN(lg)));
        memset(obj, 3, size);
        obj = rallocx(obj, size + 1000, MALLOCX_ALIGN(align) | MALLOCX_ZERO);
        WANT(obj != NULL && (uintptr_t)obj % align == 0 && all(obj, 0, size, 3));
        obj = rallocx(obj, size / 2 + 1, MALLOCX_ALIGN(align));
        WANT(obj != NULL && (uintptr_t)obj % align == 0 && all(obj, 0, size / 2, 3));
        sdallocx(obj, size / 2 + 1, MALLOCX_LG_ALIGN(lg));
        free(mallocx(size, MALLOCX_ALIGN(align)));
    }
    WANT(MALLOCX_ALIGN(64) == 6 && MALLOCX_ALIGN((size_t)1 << 35) == 35 && MALLOCX_ALIGN(1) == 0);
}

/* Freed with other contents first, so that zeros were made on purpose. */
static void zeros(size_t size) {
    void *dirty[8];
    for (int i = 0; i < 8; i++)
        memset(dirty[i] = malloc(size), 0xff, size);
    for (int i = 0; i < 8; i++)
        free(dirty[i]);
    for (int i = 0; i < 8; i++)
        WANT(all(dirty[i] = mallocx(size, MALLOCX_ZERO), 0, size, 0));
    for (int i = 0; i < 8; i++) {
        size_t had = sallocx(dirty[i], 0);
        memset(dirty[i], 0xff, had);
        unsigned char *longer = rallocx(dirty[i], 3 * size, MALLOCX_ZERO);
        WANT(all(longer, 0, size, 0xff) && all(longer, had, 3 * size, 0));
        free(longer);
    }
}

/* All bytes of an object are zero, so the bytes that it gains in place are zero, too, whatever was there before. */
static void zeros_to_the_end(size_t size, int flags) {
    void *dirty[8];
    for (int i = 0; i < 8; i++)
        memset(dirty[i] = mallocx(size, flags), 0xff, nallocx(size, flags));
    for (int i = 0; i < 8; i++)
        dallocx(dirty[i], flags);
    for (int i = 0; i < 8; i++) {
        unsigned char *obj = mallocx(size, flags | MALLOCX_ZERO);
        WANT(all(obj, 0, sallocx(obj, 0), 0));
        obj = rallocx(obj, size + 7, flags | MALLOCX_ZERO);
        WANT(all(obj, 0, sallocx(obj, 0), 0));
        size_t has = xallocx(obj, size + 11, 3, flags | MALLOCX_ZERO);
        WANT(all(obj, 0, has, 0));
        dirty[i] = obj;
    }
    for (int i = 0; i < 8; i++)
        dallocx(dirty[i], flags);
}

/* A caller that asks for 30 to 1030 bytes, and has 100, does not get less because 1030 is impossible. */
static void never_less_than_it_had(void) {
    for (int i = 0; i < 100; i++) {
        void *obj = mallocx(100, 0);
        size_t had = sallocx(obj, 0);
        WANT(xallocx(obj, 60, 1 << 20, 0) >= had && sallocx(obj, 0) >= had);
        free(obj);
    }
}

/* The object stays in place, and the call returns its size; new bytes are zero where that is requested. */
static void in_place(size_t size) {
    unsigned char *obj = mallocx(size, 0);
    memset(obj, 4, size);
    size_t had = sallocx(obj, 0), has = xallocx(obj, size, 0, 0);
    WANT(has >= size);
    has = xallocx(obj, size + 8, size, MALLOCX_ZERO);
    WANT(has == sallocx(obj, 0) && all(obj, 0, size, 4));
    WANT(has <= had || all(obj, had, has, 0));
    WANT(has < size + 8 || has >= size + 8);
    WANT(xallocx(obj, SIZE_MAX / 4, SIZE_MAX, 0) == has); /* impossible: nothing has changed */
    memset(obj, 5, has);
    WANT(xallocx(obj, size / 2 + 1, 0, 0) >= size / 2 + 1 && all(obj, 0, size / 2 + 1, 5));
    dallocx(obj, 0);
}

/* A large object's neighbours are sometimes free, and a slot has room up to its class: somewhere the object grows. */
static void grows_somewhere(void) {
    bool grown = false;
    for (size_t size = 1; size < 200 && !grown; size++) {
        void *obj = mallocx(size, 0);
        grown = xallocx(obj, size + 1, 0, 0) >= size + 1;
        free(obj);
    }
    WANT(grown);
}

/* An object without the requested alignment stays unchanged; an impossible sum of sizes counts as none. */
static void in_place_or_not(void) {
    unsigned grown = 0; /* not those that end where a guard begins */
    for (int i = 0; i < 100; i++) {
        void *obj = mallocx(30, 0);
        size_t had = sallocx(obj, 0);
        if ((uintptr_t)obj % 65536 != 0)
            WANT(xallocx(obj, 31, 0, MALLOCX_ALIGN(65536)) == had && sallocx(obj, 0) == had);
        size_t now = xallocx(obj, 31, SIZE_MAX, 0);
        WANT(now == sallocx(obj, 0) && now >= had);
        grown += now >= 31;
        dallocx(obj, 0);
    }
    WANT(grown > 50);
}

static void refused(void) {
    volatile size_t huge = SIZE_MAX / 2 + 10;
    errno = 0;
    WANT(mallocx(huge, 0) == NULL && errno == ENOMEM && nallocx(huge, 0) == 0);
    WANT(nallocx(SIZE_MAX / 2, 0) <= SIZE_MAX / 2 && nallocx(SIZE_MAX, MALLOCX_ALIGN(4096)) == 0);
    WANT(mallocx(huge, MALLOCX_ZERO) == NULL && mallocx(huge, MALLOCX_ALIGN(4096)) == NULL);
    void *obj = mallocx(100, 0);
    WANT(rallocx(obj, huge, 0) == NULL && rallocx(obj, huge, MALLOCX_ALIGN(64)) == NULL &&
         sallocx(obj, 0) >= 100);
    errno = 7;
    dallocx(obj, 0);
    sdallocx(mallocx(50, 0), 50, 0);
    WANT(errno == 7);
}

int main(void) {
    for (int i = 0; i < SIZES; i++) {
        one_heap(sizes[i]);
        alignments(sizes[i]);
        zeros(sizes[i]);
        zeros_to_the_end(sizes[i], 0);
        zeros_to_the_end(sizes[i], MALLOCX_ALIGN(64));
        in_place(sizes[i]);
    }
    nothing_stays();
    grows_somewhere();
    never_less_than_it_had();
    in_place_or_not();
    refused();
    puts("jemalloc's calls do what they should");
    return 0;
}
