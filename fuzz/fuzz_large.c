/* fuzz_large.c: large spans against a list of the live ones: disjoint, aligned, large enough, zero where they are
 * marked so, found by any address inside. Input: 4 bytes per step: operation, object, and a number of quarter
 * granules. */
#include <string.h>

#include "allocator/heap/large.h"
#include "allocator/life/reset.h"
#include "allocator/life/thread.h"
#include "allocator/os/os.h"
#include "allocator/pages/release.h"
#include "fuzz/bytes.h"
#include "fuzz/engine.h"

enum { SPANS_MAX = 48, MARK = 16 };

static struct {
    char *at; /* NULL: not in use */
    size_t size, capacity;
} spans[SPANS_MAX];

/* Both ends of a live object hold its number. */
static void mark(unsigned i) {
    memset(spans[i].at, (int)i + 1, MARK);
    memset(spans[i].at + spans[i].size - MARK, (int)i + 1, MARK);
}

static void verify_mark(unsigned i, const char *at, size_t size) {
    for (unsigned k = 0; k < MARK; k++)
        BYTES_RULE(at[k] == (char)(i + 1) && at[size - MARK + k] == (char)(i + 1),
                   "the object's bytes are as written");
}

static void verify_place(unsigned i, size_t align) {
    BYTES_RULE((uintptr_t)spans[i].at % align == 0, "a large object is aligned");
    BYTES_RULE(spans[i].capacity >= spans[i].size && spans[i].capacity % hak_os_page == 0,
               "its capacity is whole pages");
    BYTES_RULE(hak_large_capacity(spans[i].at) == spans[i].capacity, "and is what can be asked later");
    for (unsigned k = 0; k < SPANS_MAX; k++)
        if (k != i && spans[k].at != NULL)
            BYTES_RULE(spans[i].at >= spans[k].at + spans[k].capacity ||
                           spans[k].at >= spans[i].at + spans[i].capacity,
                       "large objects do not overlap");
}

static void give(unsigned i) {
    if (spans[i].at == NULL)
        return;
    verify_mark(i, spans[i].at, spans[i].size);
    BYTES_RULE(hak_large_give(spans[i].at), "a live object can be freed");
    BYTES_RULE(hak_large_capacity(spans[i].at) == 0 && !hak_large_give(spans[i].at), "and not a second time");
    spans[i].at = NULL;
}

static void take(unsigned i, size_t size, size_t align) {
    bool zeroed = false;
    give(i);
    spans[i].at = hak_large_take(size, align, &zeroed, &spans[i].capacity);
    if (spans[i].at == NULL)
        return;
    spans[i].size = size;
    verify_place(i, align);
    for (size_t at = 0; zeroed && at < size; at += hak_os_page)
        BYTES_RULE(spans[i].at[at] == 0, "what is said to be zero is zero");
    BYTES_RULE(!zeroed || spans[i].at[size - 1] == 0, "to its last byte");
    mark(i);
}

static void resize(unsigned i, size_t size) {
    if (spans[i].at == NULL)
        return;
    verify_mark(i, spans[i].at, spans[i].size);
    size_t capacity = 0;
    if (hak_large_resize(spans[i].at, size, &capacity)) {
        spans[i].size = size;
        spans[i].capacity = capacity;
    }
    verify_place(i, HAK_MIN_ALIGN);
    mark(i);
}

static void move(unsigned from, unsigned to) {
    if (spans[from].at == NULL)
        return;
    size_t size = spans[from].capacity + (to + 1) * (size_t)HAK_GRANULE, capacity;
    char *moved = hak_large_move(spans[from].at, size, &capacity);
    if (moved == NULL)
        return;
    verify_mark(from, moved, spans[from].size);
    spans[from].at = moved;
    spans[from].size = size;
    spans[from].capacity = capacity;
    verify_place(from, HAK_MIN_ALIGN);
    mark(from);
}

static void verify(void) {
    size_t live = 0, count = 0;
    for (unsigned i = 0; i < SPANS_MAX; i++)
        if (spans[i].at != NULL) {
            live += spans[i].capacity;
            count++;
        }
    BYTES_RULE(atomic_load(&hak_release_large_live) == live, "live bytes are those of the live objects");
    BYTES_RULE(atomic_load(&hak_large_count) == count, "live objects are counted");
    hak_large_check();
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    hak_test_reset(HAK_RESET_KEPT); /* what happens once per process is no part of an input */
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    bytes_reader in = {bytes, bytes + length};
    hak_test_reset(HAK_RESET_KEPT);
    memset(spans, 0, sizeof spans);
    for (unsigned steps = 0; bytes_left(&in) && steps < 512; steps++) {
        unsigned what = bytes_u8(&in), i = bytes_u8(&in), number = bytes_u16(&in);
        size_t size = MARK * 2 + ((size_t)(number & 0x3ff) << 14) / (1 + (number >> 10)) + what;
        if (what % 8 < 3)
            take(i % SPANS_MAX, size, (size_t)1 << (4 + (what >> 3) % 20));
        else if (what % 8 < 5)
            give(i % SPANS_MAX);
        else if (what % 8 == 5)
            resize(i % SPANS_MAX, size);
        else if (what % 8 == 6)
            move(i % SPANS_MAX, number % SPANS_MAX);
        else if (what >> 3 == 0)
            (void)hak_large_purge((size_t)number << 10);
        verify();
    }
    for (unsigned i = 0; i < SPANS_MAX; i++)
        give(i);
    verify();
    return 0;
}
