/* wipe_test.c: zeroing and finding bytes, with the vectors that this processor has, against plain loops. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hardening/wipe.h"

#include <string.h>

enum { MOST = 5000, EDGE = 64 };

static _Alignas(64) unsigned char bytes[MOST + 3 * EDGE];

/* All sizes up to a few tiers of the widest vectors, then some. */
static size_t next_size(size_t size) {
    return size < 1400 ? size + 16 : size + 208;
}

static void clears_exactly(void **state) {
    (void)state;
    hak_wipe_init();
    for (size_t shift = 0; shift < 64; shift += 16)
        for (size_t size = 16; size <= MOST; size = next_size(size)) {
            memset(bytes, 0xaa, sizeof bytes);
            hak_wipe.clear((char *)bytes + EDGE + shift, size);
            for (size_t i = 0; i < sizeof bytes; i++) {
                bool inside = i >= EDGE + shift && i < EDGE + shift + size;
                assert_int_equal(bytes[i], inside ? 0 : 0xaa);
            }
        }
}

static void sees_every_byte(void **state) {
    (void)state;
    hak_wipe_init();
    for (size_t shift = 0; shift < 64; shift += 16)
        for (size_t size = 16; size <= 2200; size = next_size(size)) {
            memset(bytes, 0, sizeof bytes);
            char *start = (char *)bytes + EDGE + shift;
            start[-1] = start[size] = 1; /* outside: must not count */
            assert_true(hak_wipe.is_clear(start, size));
            for (size_t i = 0; i < size; i++) {
                start[i] = 1;
                assert_false(hak_wipe.is_clear(start, size));
                start[i] = 0;
            }
        }
}

static void finish_checks_the_slack(void **state) {
    (void)state;
    hak_wipe_init();
    for (size_t room = 16; room <= 640; room += 16)
        for (size_t used = 8; used <= room; used++) {
            char *slot = (char *)bytes + EDGE;
            memset(bytes, 0x55, sizeof bytes);
            memset(slot + used, 0, room - used);
            assert_true(hak_wipe.finish(slot, used, room));
            assert_null(hak_wipe_find(slot, room));
            assert_int_equal(slot[-1], 0x55);
            assert_int_equal(slot[room], 0x55);
            for (size_t bad = used; bad < room; bad++) {
                memset(slot, 0x55, used);
                slot[bad] = 1;
                assert_false(hak_wipe.finish(slot, used, room));
                assert_int_equal(slot[0], 0x55);
                slot[bad] = 0;
            }
        }
}

static void finds_the_first(void **state) {
    (void)state;
    for (size_t start = 0; start < 33; start++)
        for (size_t bad = start; bad < 200; bad++) {
            memset(bytes, 0, sizeof bytes);
            bytes[bad] = bytes[bad + 1] = 9;
            assert_ptr_equal(hak_wipe_find(bytes + start, 220 - start), bytes + bad);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        {"clearing writes zero to every byte asked for and to no other", clears_exactly, NULL, NULL, NULL},
        {"a single byte anywhere is seen, one outside is not", sees_every_byte, NULL, NULL, NULL},
        {"the end of a slot is checked before the rest is cleared", finish_checks_the_slack, NULL, NULL,
         NULL},
        {"the first byte that is not zero is found", finds_the_first, NULL, NULL, NULL},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
