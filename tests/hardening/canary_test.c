/* canary_test.c: what canaries are, and that every changed byte of one is found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "allocator/policy.h"
#include "hardening/canary.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char bytes[4096];

static void every_byte_counts(void **state) {
    (void)state;
    hak_canary_init();
    for (size_t size = 0; size < 200; size++) {
        hak_canary_set(bytes, size);
        assert_true(hak_canary_intact(bytes, size));
        assert_null(hak_canary_find(bytes, size));
        for (size_t i = 0; i < HAK_CANARY_BYTES; i++)
            for (int bit = 0; bit < 8; bit++) {
                bytes[size + i] ^= (char)(1 << bit);
                assert_false(hak_canary_intact(bytes, size));
                assert_ptr_equal(hak_canary_find(bytes, size), bytes + size + i);
                bytes[size + i] ^= (char)(1 << bit);
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

/* What is tested stands on a page that is sealed after start: the program starts itself again, relaxed. */
int main(int argc, char **argv) {
    (void)argc;
    if (getenv("HAKMEM_HARDENING") == NULL && setenv("HAKMEM_HARDENING", "seal:off", 1) == 0)
        execv("/proc/self/exe", argv);
    const struct CMUnitTest tests[] = {
        {"a change of any bit of a canary is found, and where", every_byte_counts, NULL, NULL, NULL},
        {"the first byte is no letter, no 0 and no 0xff, the second is 0", first_bytes, NULL, NULL, NULL},
        {"canaries differ by address and by key", differ, NULL, NULL, NULL},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
