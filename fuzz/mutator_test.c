/* mutator_test.c: whatever the length of an input and the room for it, the mutator stays within the room: each block
 * ends where memory without access begins. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fuzz/mutator.h"
#include "fuzz/ops.h"

#include <string.h>
#include <sys/mman.h>

enum { PAGE = 4096, MOST = 12 * OPS_RECORD + 3, SEEDS = 60 };

static uint8_t *end; /* the first byte that faults */

static int open_page(void **state) {
    (void)state;
    uint8_t *pages = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    end = pages + PAGE;
    return pages == MAP_FAILED || mprotect(end, PAGE, PROT_NONE) != 0;
}

/* A block with as many bytes as the longer of the two: an engine passes its whole input, and may ask for less. */
static uint8_t *block(size_t length, size_t room) {
    uint8_t *bytes = end - (length > room ? length : room);
    memset(end - PAGE, 0x5a, PAGE);
    for (size_t i = 0; i < length; i++)
        bytes[i] = (uint8_t)(i * 37 + length);
    return bytes;
}

static void stays_in_the_room(void **state) {
    (void)state;
    for (size_t length = 0; length <= MOST; length++)
        for (size_t room = 0; room <= MOST; room++)
            for (uint64_t seed = 0; seed < SEEDS; seed++) {
                uint8_t *bytes = block(length, room);
                size_t got = mutator_mutate(bytes, length, room, seed);
                assert_true(got <= room);
                for (const uint8_t *at = end - PAGE; at < bytes; at++)
                    assert_int_equal(*at, 0x5a);
                for (size_t i = room; i < length; i++) /* nothing behind the room is written */
                    assert_int_equal(bytes[i], (uint8_t)(i * 37 + length));
            }
}

static void crossing_stays_in_the_room(void **state) {
    (void)state;
    static uint8_t a[MOST], b[MOST];
    for (size_t a_length = 0; a_length <= MOST; a_length += 3)
        for (size_t b_length = 0; b_length <= MOST; b_length += 5)
            for (size_t room = 0; room <= MOST; room++)
                for (uint64_t seed = 0; seed < 8; seed++)
                    assert_true(mutator_cross(a, a_length, b, b_length, block(0, room), room, seed) <= room);
}

static void every_edit_is_made(void **state) {
    (void)state;
    enum { RECORDS = 6 };
    unsigned longer = 0, shorter = 0, other = 0;
    for (uint64_t seed = 0; seed < 400; seed++) {
        uint8_t *bytes = block(RECORDS * OPS_RECORD, 2 * RECORDS * OPS_RECORD), before[RECORDS * OPS_RECORD];
        memcpy(before, bytes, sizeof before);
        size_t got = mutator_mutate(bytes, sizeof before, 2 * sizeof before, seed);
        longer += got > sizeof before;
        shorter += got < sizeof before;
        other += got == sizeof before && memcmp(before, bytes, got) != 0;
        assert_int_equal(got % OPS_RECORD, 0);
    }
    assert_true(longer > 20 && shorter > 20 && other > 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        {"no edit leaves the room that it was given", stays_in_the_room, NULL, NULL, NULL},
        {"nor does the crossing of two inputs", crossing_stays_in_the_room, NULL, NULL, NULL},
        {"inputs become longer, shorter, and others", every_edit_is_made, NULL, NULL, NULL},
    };
    return cmocka_run_group_tests(tests, open_page, NULL);
}
