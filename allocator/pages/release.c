/* release.c: see release.h. */
#include "allocator/pages/release.h"

#include "allocator/base/bits.h"
#include "allocator/os/os.h"
#include "allocator/pages/mapped_limit.h"
#include "allocator/pages/superslab.h"
#include "allocator/policy.h"

_Atomic size_t hak_release_large_live, hak_release_large_dirty, hak_release_slabs_bare;

enum {
    /* Memory above the target is purged in steps of this part of the target. That saves system calls, and
     * resident memory stays a little above the target. */
    STEP_PART = 8,
    STEP_MIN = 256 * HAK_KIB,

    /* While fresh memory is taken, free slab memory above this part of the live slab memory is purged: a heap
     * that changes its sizes has a quarter more than it needs. At least the minimum is kept, because a page
     * that is purged and touched again costs some 0.5 us. Measure again with workloads c, e and frag. */
    SLAB_KEEP_PART = 4,
    SLAB_KEEP_FRESH = 8 * HAK_MIB,
    /* Less where free slabs stay with their class: most fresh memory is for other classes, which such slabs
     * cannot serve. */
    BOUND_KEEP_PART = 32,
    BOUND_KEEP_FRESH = 2 * HAK_MIB,
    /* The same for large memory, at any time: half of the live large memory. Less after a free of an object
     * that was itself much of the heap: other allocators unmap those at once, and the process may make no
     * further call. Measure again with workloads h and h2, by time, faults and peak RSS. */
    LARGE_MOST_PART = 2,
    LARGE_MOST_MIN = 64 * HAK_MIB,
    OVERSIZE_MOST_PART = 16,
    OVERSIZE_MOST_MIN = 32 * HAK_MIB,
    ALLOWANCE_MOST = 512 * HAK_MIB, /* requested memory may never be touched */
    /* Under a limit (mapped_limit.h) no more than this part of the live large memory: when all is freed, all goes. */
    LIMITED_ALLOWANCE_PART = 4,
    UNUSED_MS = 1000,
    IDLE_MS = 10 * 1000,
    CLOSED_TIMES = 10, /* both times are this much longer with the gate closed */
};

static bool lean;
static hak_decommit decommit;
static size_t target, step;
static _Atomic size_t allowance, given; /* see hak_release_large_most; guarded by the large lock */

static size_t load(const _Atomic size_t *counter) {
    return atomic_load_explicit(counter, memory_order_relaxed);
}

void hak_release_init(bool lean_gate, hak_decommit how, size_t target_bytes) {
    lean = lean_gate;
    decommit = lean_gate ? how : HAK_DECOMMIT_OFF;
    target = target_bytes;
    allowance = given = 0;
    step = hak_max(STEP_MIN, target_bytes / STEP_PART);
}

/* Free memory goes back to the OS in a steady state, too. */
static bool is_lean(void) {
    return decommit != HAK_DECOMMIT_OFF;
}

size_t hak_release_slabs_live(void) {
    size_t live = load(&hak_superslab_live_bytes), bare = load(&hak_release_slabs_bare);
    return live - hak_min(live, bare); /* two loads: one may be older */
}

size_t hak_release_excess(void) {
    if (!is_lean())
        return 0;
    size_t dirty = load(&hak_superslab_free_dirty) + load(&hak_release_large_dirty);
    size_t resident = dirty + hak_release_slabs_live() + load(&hak_release_large_live);
    return resident > target && dirty >= step ? hak_min(dirty, resident - target) : 0;
}

size_t hak_release_slab_most(void) {
    return hak_limit_most(load(&hak_superslab_live_bytes));
}

size_t hak_release_slab_keep(void) {
    size_t live = hak_release_slabs_live();
    size_t keep = HAK_POLICY_CLASS_BOUND ? hak_max(BOUND_KEEP_FRESH, live / BOUND_KEEP_PART)
                                         : hak_max(SLAB_KEEP_FRESH, live / SLAB_KEEP_PART);
    return hak_min(keep, hak_release_slab_most());
}

uint64_t hak_release_unused_ms(void) {
    return lean ? UNUSED_MS : UNUSED_MS * CLOSED_TIMES;
}
uint64_t hak_release_idle_ms(void) {
    return lean ? IDLE_MS : IDLE_MS * CLOSED_TIMES;
}

static size_t most_after(size_t freed) {
    size_t live = load(&hak_release_large_live);
    return freed >= HAK_RELEASE_OVERSIZE ? hak_max(OVERSIZE_MOST_MIN, live / OVERSIZE_MOST_PART)
                                         : hak_max(LARGE_MOST_MIN, live / LARGE_MOST_PART);
}

size_t hak_release_large_most(size_t freed) {
    size_t may = load(&allowance), most = lean ? most_after(freed) + may : SIZE_MAX;
    size_t live = load(&hak_release_large_live), limited = hak_limit_most(live);
    return limited == SIZE_MAX ? most : hak_min(most, limited + hak_min(may, live / LIMITED_ALLOWANCE_PART));
}

void hak_release_large_given(size_t bytes) {
    atomic_fetch_add_explicit(&given, bytes, memory_order_relaxed);
}

void hak_release_large_missed(size_t bytes) {
    size_t again = hak_min(bytes, load(&given));
    if (HAK_LIKELY(again == 0))
        return;
    atomic_fetch_sub_explicit(&given, again, memory_order_relaxed);
    atomic_store_explicit(&allowance, hak_min(ALLOWANCE_MOST, load(&allowance) + again),
                          memory_order_relaxed);
}

void hak_release_large_decay(size_t highest) {
    size_t may = load(&allowance), used = highest - hak_min(highest, most_after(HAK_RELEASE_OVERSIZE));
    atomic_store_explicit(&allowance, hak_max(may / 2, hak_min(may, used)), memory_order_relaxed);
    atomic_store_explicit(&given, 0, memory_order_relaxed);
}

bool hak_release_zeroes(void) {
    return decommit != HAK_DECOMMIT_FREE;
}

bool hak_release_range(uintptr_t addr, size_t size) {
    return hak_os_purge(addr, size, decommit == HAK_DECOMMIT_FREE ? HAK_PURGE_LAZY : HAK_PURGE_NOW);
}
