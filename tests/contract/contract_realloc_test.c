/* contract_realloc_test.c: what realloc and reallocarray promise (C17 7.22.3.5, POSIX.1-2024, hakmem.h). */
#include "tests/contract/contract.h"

#include <errno.h>
#include <string.h>

enum { KIB = 1024, MIB = 1024 * KIB };

static size_t smaller(size_t a, size_t b) {
    return a < b ? a : b;
}

/* One object goes from one size to another and keeps the bytes that both sizes have. */
static void check_resize(size_t from, size_t to, unsigned seed) {
    unsigned char *obj = hak_malloc(from);
    assert_non_null(obj);
    contract_fill(obj, from, seed);
    obj = hak_realloc(obj, to);
    assert_non_null(obj);
    assert_int_equal((uintptr_t)obj % _Alignof(max_align_t), 0);
    assert_true(hak_usable_size(obj) >= to);
    assert_true(contract_holds(obj, smaller(from, to), seed));
    contract_fill(obj, to, seed + 1);
    assert_true(contract_holds(obj, to, seed + 1));
    hak_free(obj);
}

static void boundaries_keep_the_prefix(void **state) {
    (void)state;
    const contract_sizes *sizes = contract_sizes_to(1 * MIB);
    for (size_t i = 0; i < sizes->count; i++) {
        size_t size = sizes->size[i];
        const size_t targets[] = {size + 1,     size > 2 ? size - 1 : 1,
                                  size / 2 + 1, size / 8 + 1,
                                  size * 2 + 1, i + 1 < sizes->count ? sizes->size[i + 1] : size};
        for (size_t k = 0; k < sizeof targets / sizeof targets[0]; k++)
            if (targets[k] > 0)
                check_resize(size, targets[k], (unsigned)(i + k));
    }
}

static void every_pair_of_kinds_keeps_the_prefix(void **state) {
    (void)state;
    static const size_t sizes[] = {
        1,        16,       17,        64,        1000,          1025,    4096,    8 * KIB,    32 * KIB,
        40 * KIB, 64 * KIB, 128 * KIB, 256 * KIB, 256 * KIB + 1, 1 * MIB, 3 * MIB, 8 * MIB + 5};
    enum { COUNT = sizeof sizes / sizeof sizes[0] };
    for (unsigned i = 0; i < COUNT; i++)
        for (unsigned k = 0; k < COUNT; k++)
            check_resize(sizes[i], sizes[k], i * COUNT + k);
}

static void growing_by_one_keeps_all(void **state) {
    (void)state;
    unsigned char *obj = NULL;
    for (size_t size = 1; size <= 20000; size++) {
        obj = hak_realloc(obj, size);
        assert_non_null(obj);
        obj[size - 1] = (unsigned char)(1 + (size - 1 + 9) % 251);
        if (size % 61 == 0)
            assert_true(contract_holds(obj, size, 9));
    }
    for (size_t size = 20000; size >= 1; size--) {
        obj = hak_realloc(obj, size);
        assert_non_null(obj);
        if (size % 61 == 0)
            assert_true(contract_holds(obj, size, 9));
    }
    hak_free(obj);
}

static void null_is_malloc(void **state) {
    (void)state;
    const contract_sizes *sizes = contract_sizes_to(1 * MIB);
    for (size_t i = 0; i < sizes->count; i++) {
        void *obj = hak_realloc(NULL, sizes->size[i]);
        void *array = hak_reallocarray(NULL, sizes->size[i], 1);
        assert_non_null(obj);
        assert_non_null(array);
        assert_true(obj != array);
        contract_fill(obj, sizes->size[i], 1);
        contract_fill(array, sizes->size[i], 2);
        assert_true(contract_holds(obj, sizes->size[i], 1));
        hak_free(obj);
        hak_free(array);
    }
}

/* Without frees the objects would take 6 GiB. */
static void zero_frees(void **state) {
    (void)state;
    hak_stats before, stats;
    hak_stats_read(&before);
    for (int i = 0; i < 100000; i++) {
        void *obj = hak_malloc(64 * KIB);
        assert_non_null(obj);
        assert_null(i % 2 ? hak_realloc(obj, 0) : hak_reallocarray(obj, 0, 8));
    }
    hak_stats_read(&stats);
    assert_true(stats.committed_bytes < before.committed_bytes + 192u * MIB);
}

static void failure_leaves_the_object(void **state) {
    (void)state;
    static const size_t impossible[] = {PTRDIFF_MAX,   (size_t)PTRDIFF_MAX + 1, SIZE_MAX,
                                        SIZE_MAX - 15, SIZE_MAX - 4095,         (size_t)1 << 48};
    const contract_sizes *sizes = contract_sizes_to(1 * MIB);
    for (size_t i = 0; i < sizes->count; i++) {
        size_t size = sizes->size[i];
        void *obj = hak_malloc(size);
        size_t usable = hak_usable_size(obj);
        contract_fill(obj, size, (unsigned)i);
        for (size_t k = 0; k < sizeof impossible / sizeof impossible[0]; k++) {
            errno = 0;
            assert_null(hak_realloc(obj, contract_hide(impossible[k])));
            assert_int_equal(errno, ENOMEM);
            errno = 0;
            assert_null(hak_reallocarray(obj, contract_hide(impossible[k]), 1));
            assert_int_equal(errno, ENOMEM);
        }
        assert_int_equal(hak_usable_size(obj), usable);
        assert_true(contract_holds(obj, size, (unsigned)i));
        hak_free(obj);
    }
}

static void reallocarray_checks_the_product(void **state) {
    (void)state;
    static const size_t overflow[][2] = {{SIZE_MAX, 2},
                                         {2, SIZE_MAX},
                                         {SIZE_MAX / 2 + 1, 2},
                                         {SIZE_MAX, SIZE_MAX},
                                         {(size_t)1 << 32, (size_t)1 << 32},
                                         {SIZE_MAX / 3, 4}};
    void *obj = hak_reallocarray(NULL, 100, 7);
    assert_true(hak_usable_size(obj) >= 700);
    contract_fill(obj, 700, 5);
    for (size_t i = 0; i < sizeof overflow / sizeof overflow[0]; i++) {
        errno = 0;
        assert_null(hak_reallocarray(obj, contract_hide(overflow[i][0]), contract_hide(overflow[i][1])));
        assert_int_equal(errno, ENOMEM);
    }
    obj = hak_reallocarray(obj, 1000, 9);
    assert_true(hak_usable_size(obj) >= 9000);
    assert_true(contract_holds(obj, 700, 5));
    hak_free(obj);
}

static void aligned_objects_can_be_resized(void **state) {
    (void)state;
    for (size_t alignment = 16; alignment <= 4 * MIB; alignment *= 4)
        for (size_t size = 1; size <= 1 * MIB; size = size * 5 + 3) {
            unsigned char *obj = hak_aligned_alloc(alignment, size);
            assert_non_null(obj);
            contract_fill(obj, size, 3);
            obj = hak_realloc(obj, size * 2 + 1);
            assert_non_null(obj);
            assert_true(contract_holds(obj, size, 3));
            obj = hak_realloc(obj, size / 2 + 1);
            assert_non_null(obj);
            assert_true(contract_holds(obj, smaller(size, size / 2 + 1), 3));
            hak_free(obj);
        }
}

static const struct CMUnitTest tests[] = {
    CASE("realloc across every class boundary keeps the bytes that both sizes have",
         boundaries_keep_the_prefix),
    CASE("realloc between small, medium and large keeps the common bytes",
         every_pair_of_kinds_keeps_the_prefix),
    CASE("realloc one byte at a time keeps all bytes", growing_by_one_keeps_all),
    CASE("realloc of NULL is malloc", null_is_malloc),
    CASE("realloc to 0 bytes frees the object and returns NULL", zero_frees),
    CASE("a realloc that fails gives NULL and ENOMEM and leaves the object as it was",
         failure_leaves_the_object),
    CASE("reallocarray refuses a product that overflows and leaves the object",
         reallocarray_checks_the_product),
    CASE("realloc of an aligned object keeps its bytes", aligned_objects_can_be_resized),
};

int main(void) {
    return cmocka_run_group_tests_name("realloc", tests, NULL, NULL);
}
