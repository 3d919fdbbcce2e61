/* random_test.c: the generator's numbers are spread evenly, its key is erased, two generators differ. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hardening/random.h"

#include <string.h>

static void spread_evenly(void **state) {
    (void)state;
    enum { DRAWS = 1 << 16, BINS = 64 };
    static unsigned bins[BINS];
    hak_rng rng = {.next = 0};
    for (int i = 0; i < DRAWS; i++)
        bins[hak_rng_below(&rng, BINS)]++;
    for (int i = 0; i < BINS; i++) /* mean 1024, standard deviation 32: eight of them */
        assert_in_range(bins[i], 1024 - 256, 1024 + 256);
}

static void every_bit_is_drawn(void **state) {
    (void)state;
    hak_rng rng = {.next = 0};
    unsigned ones[64] = {0};
    for (int i = 0; i < 4096; i++) {
        uint64_t number = hak_rng_next(&rng);
        for (int bit = 0; bit < 64; bit++)
            ones[bit] += number >> bit & 1;
    }
    for (int bit = 0; bit < 64; bit++)
        assert_in_range(ones[bit], 2048 - 320, 2048 + 320);
}

static void key_is_erased(void **state) {
    (void)state;
    hak_rng rng = {.next = 0};
    (void)hak_rng_next(&rng);
    uint8_t key[HAK_RNG_KEY];
    memcpy(key, rng.bytes, sizeof key);
    hak_rng_refill(&rng);
    assert_memory_not_equal(key, rng.bytes, sizeof key);
}

static void numbers_leave_no_trace(void **state) {
    (void)state;
    hak_rng rng = {.next = 0};
    for (int i = 0; i < 200; i++) {
        uint64_t number = hak_rng_next(&rng);
        for (size_t at = 0; at + sizeof number <= sizeof rng.bytes; at++)
            assert_true(number == 0 || memcmp(rng.bytes + at, &number, sizeof number) != 0);
    }
}

static void generators_differ(void **state) {
    (void)state;
    hak_rng one = {.next = 0}, other = {.next = 0};
    assert_int_not_equal(hak_rng_next(&one), hak_rng_next(&other));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        {"numbers below a bound are equally likely", spread_evenly, NULL, NULL, NULL},
        {"every bit is zero as often as one", every_bit_is_drawn, NULL, NULL, NULL},
        {"a batch replaces the key that made it", key_is_erased, NULL, NULL, NULL},
        {"numbers that were handed out are no longer in the state", numbers_leave_no_trace, NULL, NULL, NULL},
        {"two generators give different numbers", generators_differ, NULL, NULL, NULL},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
