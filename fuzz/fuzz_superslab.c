/* fuzz_superslab.c: slabs taken from superslabs and given back, against a list of those in use: no two overlap, each
 * is aligned to its size, the tags of its granules hold its class, the counters add up. Input: 3 bytes per step. */
#include <string.h>

#include "allocator/life/reset.h"
#include "allocator/pages/tag.h"
#include "allocator/policy.h"
#include "fuzz/bytes.h"
#include "fuzz/engine.h"

enum { SLABS_MAX = 128 };

static hak_slab *slabs[SLABS_MAX];
static unsigned count;

static size_t size_of(const hak_slab *slab) {
    return hak_classes[slab->cls].slab_bytes;
}

static void verify_new(const hak_slab *slab, unsigned cls) {
    BYTES_RULE(slab->cls == cls && slab->start % size_of(slab) == 0,
               "a slab has its class and is aligned to its size");
    BYTES_RULE(slab->slots == hak_classes[cls].slots && hak_slab_is_empty(slab),
               "all slots of a new slab that have memory are free");
    for (unsigned i = 0; i < count; i++)
        BYTES_RULE(slab->start >= slabs[i]->start + size_of(slabs[i]) ||
                       slabs[i]->start >= slab->start + size_of(slab),
                   "slabs do not overlap");
    for (size_t at = 0; at < size_of(slab); at += HAK_GRANULE) {
        BYTES_RULE(hak_tag_of((void *)(slab->start + at)) == cls, "each granule has the slab's tag");
        BYTES_RULE(hak_slab_find(slab->start + at + at / 3 % HAK_GRANULE, cls) == slab,
                   "each address of it leads to the slab");
    }
}

static void take(unsigned cls) {
    hak_slab *slab = count < SLABS_MAX ? hak_superslab_take_slab(cls, 0) : NULL;
    if (slab == NULL)
        return;
    verify_new(slab, cls);
    slabs[count++] = slab;
}

static void give(unsigned which) {
    if (count == 0)
        return;
    which %= count;
    hak_slab *slab = slabs[which];
    uintptr_t start = slab->start;
    hak_superslab_give_slab(slab);
    slabs[which] = slabs[--count];
    BYTES_RULE(HAK_POLICY_CLASS_BOUND || hak_tag_of((void *)start) == HAK_TAG_NONE,
               "a slab that is given back has no tag");
}

static void verify(void) {
    size_t live = 0;
    unsigned superslabs = 0;
    for (unsigned i = 0; i < count; i++) {
        /* A granule behind the slots counts, too, while it is still resident from an earlier slab. */
        uint32_t resident = hak_superslab_of(slabs[i])->dirty_mask & hak_slab_mask(slabs[i]);
        BYTES_RULE((hak_slab_memory(slabs[i]) & ~resident) == 0, "what has slots has memory");
        live += (size_t)__builtin_popcount(resident) * HAK_GRANULE;
        unsigned j = 0;
        while (slabs[j]->start / HAK_SUPERSLAB != slabs[i]->start / HAK_SUPERSLAB)
            j++;
        superslabs += j == i;
        BYTES_RULE(hak_tag_of((void *)slabs[i]->start) == slabs[i]->cls, "a slab in use keeps its tag");
    }
    BYTES_RULE(atomic_load(&hak_superslab_live_bytes) == live, "bytes in use are those of the slabs in use");
    BYTES_RULE(atomic_load(&hak_superslabs_live) == superslabs,
               "superslabs in use are those with a slab in use");
    hak_superslab_check();
}

static void purge(size_t keep) {
    size_t before = atomic_load(&hak_superslab_free_dirty);
    size_t purged = hak_superslab_purge(keep);
    size_t after = atomic_load(&hak_superslab_free_dirty);
    BYTES_RULE(before - after == purged, "purge says what it gave back");
    BYTES_RULE(after <= keep, "purge leaves no more than it may keep");
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    hak_test_reset(HAK_RESET_KEPT); /* what happens once per process is no part of an input */
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    bytes_reader in = {bytes, bytes + length};
    hak_test_reset(HAK_RESET_KEPT);
    count = 0;
    for (unsigned steps = 0; bytes_left(&in) && steps < 1024; steps++) {
        unsigned what = bytes_u8(&in), number = bytes_u16(&in);
        if (what % 8 < 4)
            take(1 + number % HAK_CLASSES);
        else if (what % 8 < 7)
            give(number);
        else if (what >> 3 == 0) /* seldom, because a purge makes system calls */
            purge((size_t)number << HAK_GRANULE_SHIFT);
        verify();
    }
    while (count != 0)
        give(0);
    verify();
    return 0;
}
