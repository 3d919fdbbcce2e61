/* release.c: see release.h. */
#include "allocator/release.h"

#include "allocator/bits.h"
#include "allocator/os.h"
#include "allocator/superslab.h"

_Atomic size_t hak_release_large_live, hak_release_large_dirty;

enum {
    /* The target is steered to in steps of this part of it: fewer system calls, a little above the target. */
    STEP_PART = 8,
    STEP_MIN = 256 * HAK_KIB,

    /* Free large memory that is kept for reuse: a page that is given back and touched again costs 10 us and more, so
     * only what was not used for a while goes, or what is many times more than the live memory. Measure again with works
     * h and h2, by time, faults and peak RSS. */
    LARGE_KEEP_MIN = 64 * HAK_MIB,
    LARGE_MOST_TIMES = 4,
    LARGE_UNUSED_MS = 500,
    LARGE_IDLE_MS = 10 * 1000,
};

static bool lean;
static hak_decommit decommit;
static size_t target, step;

static size_t load(const _Atomic size_t *counter) {
    return atomic_load_explicit(counter, memory_order_relaxed);
}

void hak_release_init(bool lean_gate, hak_decommit how, size_t target_bytes) {
    lean = lean_gate;
    decommit = lean_gate ? how : HAK_DECOMMIT_OFF;
    target = target_bytes;
    step = hak_max(STEP_MIN, target_bytes / STEP_PART);
}

size_t hak_release_excess(void) {
    if (decommit == HAK_DECOMMIT_OFF)
        return 0;
    size_t dirty = load(&hak_superslab_free_dirty) + load(&hak_release_large_dirty);
    size_t resident = dirty + load(&hak_superslab_live_bytes) + load(&hak_release_large_live);
    return resident > target && dirty >= step ? hak_min(dirty, resident - target) : 0;
}

hak_release_bounds hak_release_large_bounds(void) {
    if (!lean)
        return (hak_release_bounds){SIZE_MAX, SIZE_MAX, UINT64_MAX, UINT64_MAX};
    size_t wanted = hak_max(LARGE_KEEP_MIN, load(&hak_release_large_live));
    return (hak_release_bounds){LARGE_MOST_TIMES * wanted, wanted, LARGE_UNUSED_MS, LARGE_IDLE_MS};
}

bool hak_release_zeroes(void) {
    return decommit != HAK_DECOMMIT_FREE;
}

bool hak_release_range(uintptr_t addr, size_t size) {
    return hak_os_purge(addr, size, decommit == HAK_DECOMMIT_FREE ? HAK_PURGE_LAZY : HAK_PURGE_NOW);
}
