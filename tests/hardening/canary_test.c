/* canary_test.c: what canaries are, and that every changed byte of one is found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "allocator/policy.h"
#include "hardening/canary.h"
#include "tests/hardening/again.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char bytes[4096];

static void every_byte_counts(void **state) {
    (void)state;
    hak_canary_init();
    for (size_t size = 0; size < 200; size++) {
        uint32_t word = (uint32_t)size << HAK_RECORD_SIZE_SHIFT;
        hak_canary_set(bytes, size);
        assert_true(hak_canary_intact(bytes, size) && hak_canary_right(bytes, word));
        assert_null(hak_canary_find(bytes, word));
        for (size_t i = 0; i < HAK_CANARY_BYTES; i++)
            for (int bit = 0; bit < 8; bit++) {
                bytes[size + i] ^= (char)(1 << bit);
                assert_false(hak_canary_intact(bytes, size) || hak_canary_right(bytes, word));
                assert_ptr_equal(hak_canary_find(bytes, word), bytes + size + i);
                bytes[size + i] ^= (char)(1 << bit);
            }
    }
}

static void zeros_of_a_bare_one(void **state) {
    (void)state;
    hak_canary_init();
    memset(bytes, 0, sizeof bytes);
    for (size_t size = 0; size < 200; size++) {
        uint32_t word = (uint32_t)size << HAK_RECORD_SIZE_SHIFT;
        assert_false(hak_canary_right(bytes, word));
        word |= HAK_RECORD_BARE;
        assert_true(hak_canary_right(bytes, word));
        for (size_t i = 0; i < HAK_CANARY_BYTES; i++) {
            bytes[size + i] = 1;
            assert_false(hak_canary_right(bytes, word));
            assert_ptr_equal(hak_canary_find(bytes, word), bytes + size + i);
            bytes[size + i] = 0;
        }
    }
}

static void first_bytes(void **state) {
    (void)state;
    for (int key = 0; key < 200; key++) {
        hak_canary_init();
        for (size_t at = 0; at < 500; at++) {
            uint64_t canary = hak_canary_at(bytes + at);
            assert_in_range(canary & 0xff, 0x80, 0xbf);
            assert_int_equal(canary >> 8 & 0xff, 0);
            assert_in_range(canary >> 56, 0x80, 0xff);
        }
    }
}

static void differ(void **state) {
    (void)state;
    hak_canary_init();
    unsigned equal = 0;
    uint64_t first = hak_canary_at(bytes);
    for (size_t at = 16; at < 4096; at += 16)
        equal += hak_canary_at(bytes + at) == first;
    assert_int_equal(equal, 0);
    hak_canary_init();
    assert_int_not_equal(hak_canary_at(bytes), first);
}

/* Over many keys every bit that may differ does differ, wherever the object lies. Two canaries tell nothing about a
 * third: the difference between two canaries depends on the key, too. */
static void keys(void **state) {
    (void)state;
    enum { KEYS = 256 };
    static const uintptr_t ends[] = {0, 1, 0x1000, (uintptr_t)1 << 46, UINTPTR_MAX};
    const uint64_t fixed = 0xffc0 | (uint64_t)1 << 63 | 0x80;
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        uint64_t zeros = 0, ones = 0, differences[KEYS];
        unsigned equal = 0;
        for (int key = 0; key < KEYS; key++) {
            hak_canary_init();
            uint64_t canary = hak_canary_at((const void *)ends[i]);
            zeros |= ~canary;
            ones |= canary;
            differences[key] = canary - hak_canary_at((const void *)(ends[i] ^ 0x40));
            for (int other = 0; other < key; other++)
                equal += differences[key] == differences[other];
        }
        assert_int_equal((zeros & ones) | fixed, UINT64_MAX);
        assert_int_equal(equal, 0);
    }
}

/* For pairs of addresses at an equal distance, canaries differ each time by another value: so leaked canaries do not
 * give away others. */
static void not_linear(void **state) {
    (void)state;
    enum { COUNT = 512 };
    static uint64_t sums[COUNT], flips[COUNT];
    hak_canary_init();
    unsigned equal = 0;
    for (unsigned i = 0; i < COUNT; i++) {
        uint64_t one = __builtin_bswap64(hak_canary_at((const void *)(uintptr_t)(0x7f0000000000 + 16 * i)));
        uint64_t other = __builtin_bswap64(hak_canary_at((const void *)(uintptr_t)(0x7f0000000008 + 16 * i)));
        sums[i] = (other - one) >> 16;
        flips[i] = other ^ one;
        for (unsigned before = 0; before < i; before++)
            equal += (sums[before] == sums[i]) + (flips[before] == flips[i]);
    }
    assert_int_equal(equal, 0);
}

/* Each bit of a key is random, except that factors are odd. */
static void keys_are_whole(void **state) {
    (void)state;
    enum { DRAWS = 64, KEYS = sizeof hak_hardening.canary_keys / sizeof hak_hardening.canary_keys[0] };
    uint64_t zeros[KEYS] = {0}, ones[KEYS] = {0};
    for (int i = 0; i < DRAWS; i++) {
        hak_canary_init();
        for (int key = 0; key < KEYS; key++) {
            zeros[key] |= ~hak_hardening.canary_keys[key];
            ones[key] |= hak_hardening.canary_keys[key];
        }
    }
    assert_int_equal(KEYS, 4);
    for (int key = 0; key < KEYS; key++) { /* one bit stays the same in 64 draws: 2^-55 for all of them */
        assert_int_equal(ones[key], UINT64_MAX);
        assert_int_equal(zeros[key], UINT64_MAX - (uint64_t)(key % 2));
    }
}

static void processes(void **state) {
    (void)state;
    enum { PROCESSES = 16 };
    char said[PROCESSES][64];
    for (int i = 0; i < PROCESSES; i++) {
        assert_int_equal(again_said("canary", "seal:off", NULL, 0, said[i], sizeof said[i]), 0);
        assert_int_equal(strlen(said[i]), 17);
        for (int other = 0; other < i; other++)
            assert_string_not_equal(said[i], said[other]);
    }
}

/* The tested settings lie on a page that is sealed after start: so the program starts itself again, with checks
 * reduced. */
int main(int argc, char **argv) {
    if (argc > 1)
        return printf("%016llx\n", (unsigned long long)hak_canary_at((const void *)0x10000)) != 17;
    if (getenv("HAKMEM_HARDENING") == NULL && setenv("HAKMEM_HARDENING", "seal:off", 1) == 0)
        execv("/proc/self/exe", argv);
    const struct CMUnitTest tests[] = {
        {"a change of any bit of a canary is found, and where", every_byte_counts, NULL, NULL, NULL},
        {"behind a bare object any bit that is set is found", zeros_of_a_bare_one, NULL, NULL, NULL},
        {"the first byte is no letter, no 0 and no 0xff, the second is 0", first_bytes, NULL, NULL, NULL},
        {"canaries differ by address and by key", differ, NULL, NULL, NULL},
        {"every bit of a canary depends on the keys, at any address", keys, NULL, NULL, NULL},
        {"the keys are drawn as a whole", keys_are_whole, NULL, NULL, NULL},
        {"they are not linear in the address", not_linear, NULL, NULL, NULL},
        {"no two processes have the same", processes, NULL, NULL, NULL},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
