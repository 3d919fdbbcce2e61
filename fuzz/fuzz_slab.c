/* fuzz_slab.c: the bitmap of one slab against a plain set of slots. Input: a class, then per step an operation and a
 * number. */
#include <string.h>

#include "allocator/heap/slab.h"
#include "allocator/life/reset.h"
#include "fuzz/bytes.h"
#include "fuzz/engine.h"

enum { SLOTS_MAX = HAK_GRANULE / HAK_MIN_ALIGN };

static hak_slab *slab;
static bool taken[SLOTS_MAX];
static unsigned taken_count;

static unsigned slot_of(const void *obj) {
    size_t offset = (uintptr_t)obj - slab->start, size = hak_classes[slab->cls].size;
    BYTES_RULE(offset % size == 0 && offset / size < slab->slots, "an object is the start of a slot");
    return (unsigned)(offset / size);
}

static void take(unsigned want) {
    void *objs[256];
    bool zeroed;
    unsigned got = hak_slab_take_batch(slab, objs, want, &zeroed);
    unsigned free = hak_slab_all(slab) - taken_count;
    BYTES_RULE(got == (want < free ? want : free), "as many as were wanted, or all that are free");
    for (unsigned i = 0; i < got; i++) {
        unsigned slot = slot_of(objs[i]);
        BYTES_RULE(!taken[slot], "a slot is taken once");
        taken[slot] = true;
        taken_count++;
    }
}

/* The first taken slot from `from` on, wrapping around the end. */
static void give(unsigned from) {
    for (unsigned i = 0; i < slab->slots && taken_count != 0; i++) {
        unsigned slot = (from + i) % slab->slots;
        if (!taken[slot])
            continue;
        void *obj = (void *)(slab->start + (uintptr_t)slot * hak_classes[slab->cls].size);
        BYTES_RULE(hak_slab_give(slab, obj) == HAK_SLAB_GIVEN, "a slot that was taken can be given");
        taken[slot] = false;
        taken_count--;
        return;
    }
}

static void verify(void) {
    BYTES_RULE(slab->free == hak_slab_all(slab) - taken_count, "the count of free slots");
    slab->state = slab->free == 0 ? HAK_SLAB_FULL : HAK_SLAB_PARTIAL; /* the depot's part */
    hak_slab_check(slab);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    hak_test_reset(HAK_RESET_KEPT); /* what happens once per process is no part of an input */
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    bytes_reader in = {bytes, bytes + length};
    hak_test_reset(HAK_RESET_KEPT);
    slab = hak_superslab_take_slab(1 + bytes_u8(&in) % HAK_CLASSES, 0);
    BYTES_RULE(slab != NULL, "a slab is to be had");
    memset(taken, 0, sizeof taken);
    taken_count = 0;
    for (unsigned steps = 0; bytes_left(&in) && steps < 2048; steps++) {
        unsigned number = bytes_u16(&in);
        if (number >> 15)
            take(number & 0xff);
        else
            for (unsigned n = 0; n <= (number >> 12); n++)
                give(number & 0xfff);
        verify();
    }
    while (taken_count != 0)
        give(0);
    verify();
    return 0;
}
