/* contract_aligned_test.c: aligned_alloc, posix_memalign and memalign, and what every call refuses
 * (C23 7.24.3, POSIX.1-2017, hakmem.h). */
#include "tests/contract/contract.h"

#include <errno.h>
#include <string.h>

enum { KIB = 1024, MIB = 1024 * KIB };

static const size_t some_sizes[] = {0, 1, 15, 16, 17, 100, 1000, 4096, 5000, 65536, 300000};
enum { SOME_SIZES = sizeof some_sizes / sizeof some_sizes[0] };

static void check_aligned(void *obj, size_t alignment, size_t size) {
    assert_non_null(obj);
    assert_int_equal((uintptr_t)obj % alignment, 0);
    assert_true(hak_usable_size(obj) >= size);
    contract_fill(obj, size, 7);
    assert_true(contract_holds(obj, size, 7));
}

static void alignments_to_64_mib(void **state) {
    (void)state;
    for (size_t alignment = 1; alignment <= 64 * MIB; alignment *= 2)
        for (int i = 0; i < SOME_SIZES; i++) {
            size_t size = some_sizes[i];
            void *objs[3] = {hak_aligned_alloc(alignment, size), hak_memalign(alignment, size), NULL};
            if (alignment >= sizeof(void *))
                assert_int_equal(hak_posix_memalign(&objs[2], alignment, size), 0);
            else
                objs[2] = hak_aligned_alloc(alignment, size);
            for (int k = 0; k < 3; k++)
                check_aligned(objs[k], alignment, size);
            for (int k = 0; k < 3; k++)
                hak_free(objs[k]);
        }
}

static void many_aligned_objects_live_at_once(void **state) {
    (void)state;
    enum { COUNT = 300 };
    static void *objs[COUNT];
    for (size_t alignment = 32; alignment <= 1 * MIB; alignment *= 32) {
        for (unsigned i = 0; i < COUNT; i++) {
            objs[i] = hak_aligned_alloc(alignment, 24 + i);
            check_aligned(objs[i], alignment, 24 + i);
            contract_fill(objs[i], 24 + i, i);
        }
        for (unsigned i = 0; i < COUNT; i++) {
            assert_true(contract_holds(objs[i], 24 + i, i));
            hak_free(objs[i]);
        }
    }
}

static void wrong_alignment_is_einval(void **state) {
    (void)state;
    static const size_t wrong[] = {0, 3, 5, 12, 24, 100, 4097, SIZE_MAX, SIZE_MAX / 2};
    static const size_t too_small[] = {1, 2, 4};
    int mark;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        void *out = &mark;
        errno = 0;
        assert_null(hak_aligned_alloc(contract_hide(wrong[i]), 64));
        assert_int_equal(errno, EINVAL);
        errno = EINTR;
        assert_int_equal(hak_posix_memalign(&out, contract_hide(wrong[i]), 64), EINVAL);
        assert_int_equal(errno, EINTR);
        assert_ptr_equal(out, &mark);
    }
    for (int i = 0; i < 3; i++) {
        void *out = &mark;
        assert_int_equal(hak_posix_memalign(&out, too_small[i], 64), EINVAL);
        assert_ptr_equal(out, &mark);
    }
}

static void memalign_rounds_up(void **state) {
    (void)state;
    static const size_t rounds[][2] = {{0, 1},     {3, 4},       {17, 32},       {24, 32},
                                       {100, 128}, {4097, 8192}, {65537, 131072}};
    for (size_t i = 0; i < sizeof rounds / sizeof rounds[0]; i++) {
        void *obj = hak_memalign(contract_hide(rounds[i][0]), 100);
        check_aligned(obj, rounds[i][1], 100);
        hak_free(obj);
    }
}

static void impossible_sizes_are_enomem(void **state) {
    (void)state;
    static const size_t sizes[] = {PTRDIFF_MAX,
                                   (size_t)PTRDIFF_MAX + 1,
                                   SIZE_MAX,
                                   SIZE_MAX - 1,
                                   SIZE_MAX - 15,
                                   SIZE_MAX - 16,
                                   SIZE_MAX - 4095,
                                   SIZE_MAX - 4096,
                                   SIZE_MAX - 2 * MIB + 1,
                                   SIZE_MAX / 2 - 2 * MIB,
                                   (size_t)1 << 62,
                                   (size_t)1 << 48};
    static const size_t alignments[] = {16, 64, 4096, 2 * MIB, 64 * MIB};
    int mark;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t size = contract_hide(sizes[i]);
        errno = 0;
        assert_null(hak_malloc(size));
        assert_int_equal(errno, ENOMEM);
        errno = 0;
        assert_null(hak_calloc(1, size));
        assert_int_equal(errno, ENOMEM);
        errno = 0;
        assert_null(hak_realloc(NULL, size));
        assert_int_equal(errno, ENOMEM);
        for (int k = 0; k < 5; k++) {
            errno = 0;
            assert_null(hak_aligned_alloc(alignments[k], size));
            assert_int_equal(errno, ENOMEM);
            errno = 0;
            assert_null(hak_memalign(alignments[k], size));
            assert_int_equal(errno, ENOMEM);
            void *out = &mark;
            errno = EINTR;
            assert_int_equal(hak_posix_memalign(&out, alignments[k], size), ENOMEM);
            assert_int_equal(errno, EINTR);
            assert_ptr_equal(out, &mark);
        }
    }
}

static void impossible_alignments_are_enomem(void **state) {
    (void)state;
    int mark;
    for (size_t alignment = (size_t)1 << 48; alignment != 0; alignment *= 2) {
        void *out = &mark;
        errno = 0;
        assert_null(hak_aligned_alloc(contract_hide(alignment), 8));
        assert_int_equal(errno, ENOMEM);
        assert_int_equal(hak_posix_memalign(&out, contract_hide(alignment), 8), ENOMEM);
        assert_ptr_equal(out, &mark);
    }
    assert_null(hak_memalign(contract_hide(SIZE_MAX), 8));
}

static void calloc_overflow_is_enomem(void **state) {
    (void)state;
    static const size_t pairs[][2] = {
        {SIZE_MAX, 2},        {2, SIZE_MAX},     {SIZE_MAX / 2 + 1, 2}, {(size_t)1 << 32, (size_t)1 << 32},
        {SIZE_MAX, SIZE_MAX}, {SIZE_MAX / 7, 8}, {PTRDIFF_MAX, 1},      {(size_t)PTRDIFF_MAX / 2 + 1, 2}};
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        errno = 0;
        assert_null(hak_calloc(contract_hide(pairs[i][0]), contract_hide(pairs[i][1])));
        assert_int_equal(errno, ENOMEM);
    }
}

static void a_refusal_costs_nothing(void **state) {
    (void)state;
    hak_stats before, after;
    hak_free(hak_malloc(100));
    hak_stats_read(&before);
    for (int i = 0; i < 20000; i++) {
        assert_null(hak_malloc(contract_hide(PTRDIFF_MAX)));
        assert_null(hak_aligned_alloc(64 * MIB, contract_hide(PTRDIFF_MAX)));
        assert_null(hak_aligned_alloc(contract_hide(3), 100));
    }
    hak_stats_read(&after);
    assert_true(after.committed_bytes == before.committed_bytes);
    assert_true(after.mapped_bytes == before.mapped_bytes);
}

static void version_and_variant_are_said(void **state) {
    (void)state;
    assert_string_equal(hak_version(), HAK_VERSION_STRING);
    assert_true(strcmp(hak_variant(), "speed") == 0 || strcmp(hak_variant(), "hardened") == 0);
}

static const struct CMUnitTest tests[] = {
    CASE("an object has the alignment asked for, from 1 byte to 64 MiB", alignments_to_64_mib),
    CASE("aligned objects that live at once are disjoint", many_aligned_objects_live_at_once),
    CASE("an alignment that is no power of two gives EINVAL and changes nothing", wrong_alignment_is_einval),
    CASE("memalign rounds an alignment up to a power of two", memalign_rounds_up),
    CASE("a size that cannot be had gives NULL and ENOMEM from every call", impossible_sizes_are_enomem),
    CASE("an alignment that cannot be had gives ENOMEM", impossible_alignments_are_enomem),
    CASE("calloc refuses a product that overflows", calloc_overflow_is_enomem),
    CASE("a refused request takes no memory", a_refusal_costs_nothing),
    CASE("hak_version and hak_variant name the version and the variant", version_and_variant_are_said),
};

int main(void) {
    return cmocka_run_group_tests_name("aligned", tests, NULL, NULL);
}
