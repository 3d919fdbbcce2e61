/* random_test.c: the generator is ChaCha with 8 rounds, its numbers are spread evenly, its key is erased, and two
 * generators differ. */
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

/* Word `w` of block `b` of a key's output, as the generator lays the words out: four blocks side by side. */
static uint32_t word_of(const hak_rng *rng, unsigned b, unsigned w) {
    return rng->words[b / 4 * 64 + w * 4 + b % 4];
}

/* Source: draft-strombergson-chacha-test-vectors-01, TC1, 8 rounds, 256-bit key of zeros. */
static void known_answer(void **state) {
    (void)state;
    static const uint8_t block[2][16] = {
        {0x3e, 0x00, 0xef, 0x2f, 0x89, 0x5f, 0x40, 0xd6, 0x7f, 0x5b, 0xb8, 0xe8, 0x1f, 0x09, 0xa5, 0xa1},
        {0x2c, 0x84, 0x0e, 0xc3, 0xce, 0x9a, 0x7f, 0x3b, 0x18, 0x1b, 0xe1, 0x88, 0xef, 0x71, 0x1a, 0x1e}};
    hak_rng rng = {.next = 0};
    hak_rng_refill(&rng);
    for (unsigned w = 0; w < 8; w++) {
        uint32_t want;
        memcpy(&want, block[w / 4] + w % 4 * 4, sizeof want);
        assert_int_equal(word_of(&rng, 0, w), want);
    }
}

/* The same in plain steps (Bernstein, "ChaCha, a variant of Salsa20"), for any key and block. */
static uint32_t turned(uint32_t x, int n) {
    return x << n | x >> (32 - n);
}
static void quarter(uint32_t *a, uint32_t *b, uint32_t *c, uint32_t *d) {
    *a += *b, *d = turned(*d ^ *a, 16);
    *c += *d, *b = turned(*b ^ *c, 12);
    *a += *b, *d = turned(*d ^ *a, 8);
    *c += *d, *b = turned(*b ^ *c, 7);
}
static void plain_block(const uint32_t key[8], uint32_t counter, uint32_t out[16]) {
    uint32_t start[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
    memcpy(start + 4, key, 32);
    start[12] = counter;
    memcpy(out, start, sizeof start);
    for (int round = 0; round < 8; round += 2) {
        for (int i = 0; i < 4; i++)
            quarter(&out[i], &out[4 + i], &out[8 + i], &out[12 + i]);
        for (int i = 0; i < 4; i++)
            quarter(&out[i], &out[4 + (i + 1) % 4], &out[8 + (i + 2) % 4], &out[12 + (i + 3) % 4]);
    }
    for (int i = 0; i < 16; i++)
        out[i] += start[i];
}
static void any_key(void **state) {
    (void)state;
    for (int round = 0; round < 50; round++) {
        hak_rng rng = {.next = 0};
        hak_rng_seed(&rng);
        uint32_t key[8], want[16];
        memcpy(key, rng.words, sizeof key);
        hak_rng_refill(&rng);
        for (unsigned b = 0; b < HAK_RNG_BATCH / 64; b++) {
            plain_block(key, b, want);
            for (unsigned w = 0; w < 16; w++)
                assert_int_equal(word_of(&rng, b, w), want[w]);
        }
    }
}

static void generators_differ(void **state) {
    (void)state;
    hak_rng one = {.next = 0}, other = {.next = 0};
    assert_int_not_equal(hak_rng_next(&one), hak_rng_next(&other));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        {"the block of a known key is the published one", known_answer, NULL, NULL, NULL},
        {"every block of any key is what the plain steps make", any_key, NULL, NULL, NULL},
        {"numbers below a bound are equally likely", spread_evenly, NULL, NULL, NULL},
        {"every bit is zero as often as one", every_bit_is_drawn, NULL, NULL, NULL},
        {"a batch replaces the key that made it", key_is_erased, NULL, NULL, NULL},
        {"numbers that were handed out are no longer in the state", numbers_leave_no_trace, NULL, NULL, NULL},
        {"two generators give different numbers", generators_differ, NULL, NULL, NULL},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
