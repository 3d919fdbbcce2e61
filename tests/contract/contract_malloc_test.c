/* contract_malloc_test.c: what malloc, calloc, free and the usable size promise (C17 7.22.3, POSIX.1-2024,
 * hakmem.h). */
#include "tests/contract/contract.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define __SANITIZE_THREAD__ 1 /* the name that gcc uses */
#endif
#endif

enum { KIB = 1024, MIB = 1024 * KIB };

static int by_address(const void *a, const void *b) {
    uintptr_t left = *(const uintptr_t *)a, right = *(const uintptr_t *)b;
    return (left > right) - (left < right);
}

static void zero_sizes_are_unique(void **state) {
    (void)state;
    enum { COUNT = 3000 };
    static uintptr_t seen[COUNT];
    for (int i = 0; i < COUNT; i++) {
        void *obj = i % 3 == 0 ? hak_malloc(0) : i % 3 == 1 ? hak_calloc(0, 8) : hak_calloc(8, 0);
        assert_non_null(obj);
        seen[i] = (uintptr_t)obj;
    }
    qsort(seen, COUNT, sizeof seen[0], by_address);
    for (int i = 1; i < COUNT; i++)
        assert_true(seen[i - 1] != seen[i]);
    for (int i = 0; i < COUNT; i++)
        hak_free((void *)seen[i]);
}

static void every_byte_can_be_used(void **state) {
    (void)state;
    const contract_sizes *sizes = contract_sizes_to(8 * MIB);
    for (size_t i = 0; i < sizes->count; i++) {
        size_t size = sizes->size[i];
        void *obj = hak_malloc(size);
        assert_non_null(obj);
        assert_true(hak_usable_size(obj) >= size);
        contract_fill(obj, hak_usable_size(obj), (unsigned)i);
        assert_true(contract_holds(obj, size, (unsigned)i));
        hak_free(obj);
    }
}

static void every_object_is_aligned(void **state) {
    (void)state;
    const contract_sizes *sizes = contract_sizes_to(8 * MIB);
    for (size_t i = 0; i < 8192 + sizes->count; i++) {
        size_t size = i < 8192 ? i : sizes->size[i - 8192];
        void *objs[3] = {hak_malloc(size), hak_calloc(1, size), hak_realloc(NULL, size)};
        for (int k = 0; k < 3; k++) {
            assert_non_null(objs[k]);
            assert_int_equal((uintptr_t)objs[k] % _Alignof(max_align_t), 0);
            hak_free(objs[k]);
        }
    }
}

static void live_objects_do_not_overlap(void **state) {
    (void)state;
    const contract_sizes *sizes = contract_sizes_to(64 * KIB);
    static void *objs[3][CONTRACT_SIZES_MAX];
    for (unsigned round = 0; round < 3; round++)
        for (size_t i = 0; i < sizes->count; i++) {
            objs[round][i] = hak_malloc(sizes->size[i]);
            assert_non_null(objs[round][i]);
            contract_fill(objs[round][i], sizes->size[i], (unsigned)i + 83 * round);
        }
    for (unsigned round = 0; round < 3; round++)
        for (size_t i = 0; i < sizes->count; i++) {
            assert_true(contract_holds(objs[round][i], sizes->size[i], (unsigned)i + 83 * round));
            hak_free(objs[round][i]);
        }
}

static void usable_size_does_not_change(void **state) {
    (void)state;
    assert_int_equal(hak_usable_size(NULL), 0);
    const contract_sizes *sizes = contract_sizes_to(8 * MIB);
    for (size_t i = 0; i < sizes->count; i++) {
        void *obj = hak_malloc(sizes->size[i]), *other = hak_malloc(sizes->size[i]);
        size_t usable = hak_usable_size(obj);
        memset(obj, 0xff, usable);
        hak_free(other);
        assert_int_equal(hak_usable_size(obj), usable);
        hak_free(obj);
    }
}

static void free_keeps_errno(void **state) {
    (void)state;
    static const int values[] = {0, EINTR, ENOMEM, 4095};
    const contract_sizes *sizes = contract_sizes_to(24 * MIB);
    for (size_t i = 0; i < sizes->count; i++)
        for (int k = 0; k < 4; k++) {
            void *obj = hak_malloc(sizes->size[i]);
            errno = values[k];
            hak_free(obj);
            assert_int_equal(errno, values[k]);
            hak_free(NULL);
            assert_int_equal(errno, values[k]);
        }
}

static void calloc_gives_zeroes(void **state) {
    (void)state;
    const contract_sizes *sizes = contract_sizes_to(4 * MIB);
    for (size_t i = 0; i < sizes->count; i++) {
        size_t size = sizes->size[i];
        void *objs[4];
        for (int k = 0; k < 4; k++) {
            objs[k] = hak_malloc(size);
            memset(objs[k], 0xa5, size);
        }
        for (int k = 0; k < 4; k++)
            hak_free(objs[k]);
        for (int k = 0; k < 4; k++) {
            objs[k] = k % 2 ? hak_calloc(1, size) : hak_calloc(size, 1);
            assert_non_null(objs[k]);
            assert_true(contract_is_zero(objs[k], size));
        }
        for (int k = 0; k < 4; k++)
            hak_free(objs[k]);
    }
}

static void calloc_multiplies(void **state) {
    (void)state;
    static const size_t pairs[][2] = {{3, 5},       {7, 1000},     {1000, 7},    {65, 4097},
                                      {1024, 1024}, {0, SIZE_MAX}, {SIZE_MAX, 0}};
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        size_t product = pairs[i][0] * pairs[i][1];
        unsigned char *obj = hak_calloc(contract_hide(pairs[i][0]), contract_hide(pairs[i][1]));
        assert_non_null(obj);
        assert_true(hak_usable_size(obj) >= product);
        assert_true(contract_is_zero(obj, product));
        hak_free(obj);
    }
}

static void free_sized_ends_the_life(void **state) {
    (void)state;
    hak_free_sized(NULL, 8);
    hak_free_aligned_sized(NULL, 64, 64);
    const contract_sizes *sizes = contract_sizes_to(1 * MIB);
    for (size_t i = 0; i < sizes->count; i++) {
        size_t size = sizes->size[i];
        errno = EINTR;
        hak_free_sized(hak_malloc(size), size);
        hak_free_sized(hak_calloc(1, size), size);
        hak_free_sized(hak_realloc(hak_malloc(1), size + 1), size + 1);
        for (size_t alignment = 1; alignment <= 64 * KIB; alignment *= 8)
            hak_free_aligned_sized(hak_aligned_alloc(alignment, size), alignment, size);
        assert_int_equal(errno, EINTR);
    }
}

static size_t resident_bytes(void) {
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%*u %lu", &pages), 1);
    assert_int_equal(fclose(file), 0);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* Without frees the objects of these rounds would take 1.3 GiB. Their addresses may rest for long, their memory not.
 * ThreadSanitizer keeps shadow memory for each address that was ever used. */
static void freed_memory_is_used_again(void **state) {
    (void)state;
#ifdef __SANITIZE_THREAD__
    skip();
#endif
    static const size_t sizes[] = {16, 1000, 40 * KIB, 300 * KIB, 3 * MIB};
    size_t before = resident_bytes();
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (size_t done = 0; done < 256u * MIB; done += sizes[i]) {
            char *obj = hak_malloc(sizes[i]);
            assert_non_null(obj);
            memset(obj, 1, sizes[i]);
            hak_free(obj);
        }
        assert_true(resident_bytes() < before + 192u * MIB);
    }
}

static const struct CMUnitTest tests[] = {
    CASE("a request for 0 bytes gives a pointer unlike that of any other live object", zero_sizes_are_unique),
    CASE("an object has at least the size asked for and every usable byte can be written",
         every_byte_can_be_used),
    CASE("an object of any size is aligned for any type", every_object_is_aligned),
    CASE("live objects are disjoint", live_objects_do_not_overlap),
    CASE("the usable size of NULL is 0, and that of a live object does not change",
         usable_size_does_not_change),
    CASE("free keeps errno, and free of NULL does nothing", free_keeps_errno),
    CASE("calloc gives zeroes, of recycled memory too", calloc_gives_zeroes),
    CASE("calloc gives room for count times size bytes", calloc_multiplies),
    CASE("free_sized and free_aligned_sized take the values that were asked for, or NULL",
         free_sized_ends_the_life),
    CASE("freed memory is available for further allocation", freed_memory_is_used_again),
};

int main(void) {
    return cmocka_run_group_tests_name("malloc", tests, NULL, NULL);
}
