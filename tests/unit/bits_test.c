/* bits_test.c: the arithmetic of bits.h against plain code for the same. */
#include "tests/unit/unit.h"

#include "allocator/base/bits.h"

static void powers_of_two(void **state) {
    (void)state;
    for (unsigned shift = 0; shift < 64; shift++) {
        size_t n = (size_t)1 << shift;
        assert_true(hak_is_pow2(n));
        assert_int_equal(hak_log2(n), shift);
        assert_int_equal(hak_lowest_bit(n), shift);
        if (shift >= 2) {
            assert_false(hak_is_pow2(n + 1));
            assert_false(hak_is_pow2(n - 1));
            assert_int_equal(hak_log2(n + 1), shift);
            assert_int_equal(hak_log2(n - 1), shift - 1);
        }
    }
    assert_false(hak_is_pow2(0));
}

static void alignment(void **state) {
    (void)state;
    static const struct {
        size_t n, align, down, up;
    } rows[] = {
        {0, 16, 0, 0},    {1, 16, 0, 16},           {15, 16, 0, 16},
        {16, 16, 16, 16}, {17, 16, 16, 32},         {4097, 4096, 4096, 8192},
        {7, 1, 7, 7},     {1, HAK_MIB, 0, HAK_MIB}, {SIZE_MAX - 15, 16, SIZE_MAX - 15, SIZE_MAX - 15},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        size_t up = 1;
        assert_int_equal(hak_align_down(rows[i].n, rows[i].align), rows[i].down);
        assert_int_equal(hak_align_up(rows[i].n, rows[i].align), rows[i].up);
        assert_true(hak_align_up_checked(rows[i].n, rows[i].align, &up));
        assert_int_equal(up, rows[i].up);
    }
}

static void overflow(void **state) {
    (void)state;
    size_t out = 7;
    assert_false(hak_add_checked(SIZE_MAX, 1, &out));
    assert_true(hak_add_checked(SIZE_MAX - 1, 1, &out) && out == SIZE_MAX);
    assert_false(hak_mul_checked(SIZE_MAX / 2 + 1, 2, &out));
    assert_true(hak_mul_checked(SIZE_MAX / 2, 2, &out) && out == SIZE_MAX - 1);
    assert_true(hak_mul_checked(0, SIZE_MAX, &out) && out == 0);
    out = 7;
    assert_false(hak_align_up_checked(SIZE_MAX - 14, 16, &out));
    assert_false(hak_align_up_checked(SIZE_MAX, 2, &out));
    assert_int_equal(out, 7);
}

static void runs_of_ones(void **state) {
    (void)state;
    for (unsigned first = 0; first < 32; first++)
        for (unsigned count = 1; first + count <= 32; count++) {
            uint32_t want = 0;
            for (unsigned i = 0; i < count; i++)
                want |= (uint32_t)1 << (first + i);
            assert_int_equal(hak_ones32(first, count), want);
        }
}

/* The plain search. */
static int find_run(uint32_t mask, unsigned count) {
    for (unsigned first = 0; first < 32; first += count) {
        unsigned ones = 0;
        while (ones < count && (mask >> (first + ones) & 1))
            ones++;
        if (ones == count)
            return (int)first;
    }
    return -1;
}

static void aligned_runs(void **state) {
    (void)state;
    uint64_t seed = 1;
    for (int i = 0; i < 200000; i++) {
        uint32_t mask = (uint32_t)(unit_random(&seed) | unit_random(&seed));
        mask |= i % 3 == 0 ? (uint32_t)unit_random(&seed) : 0;
        mask = i % 100 == 0 ? ~hak_ones32((unsigned)i / 100 % 32, 1) : mask;
        for (unsigned count = 1; count <= 32; count *= 2)
            assert_int_equal(hak_find_run32(mask, count), find_run(mask, count));
    }
    for (unsigned count = 1; count <= 32; count *= 2) {
        assert_int_equal(hak_find_run32(0, count), -1);
        assert_int_equal(hak_find_run32(UINT32_MAX, count), 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE("powers of two and logarithms are found at every bit", powers_of_two),
        CASE("sizes are aligned down and up as the table says", alignment),
        CASE("an overflow is reported and stores nothing", overflow),
        CASE("a run of ones is where it was asked for", runs_of_ones),
        CASE("the first aligned run is the one that a plain search finds", aligned_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
