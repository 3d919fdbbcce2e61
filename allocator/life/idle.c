/* idle.c: see idle.h. */
#include "allocator/life/idle.h"

#include "allocator/cache/cache.h"
#include "allocator/heap/large.h"
#include "allocator/life/background.h"
#include "allocator/life/reclaim.h"
#include "allocator/options.h"
#include "allocator/pages/release.h"
#include "allocator/policy.h"

_Atomic uint64_t hak_idle_last;
static _Atomic uint64_t
    slabs_last; /* time of the last pass over slabs; only the thread that makes a pass uses it */

void hak_idle_init(void) {
    slabs_last = hak_os_milliseconds();
    atomic_store_explicit(&hak_idle_last, slabs_last, memory_order_relaxed);
}

/* The pass of the background thread. True: other threads have made passes, or the amount of free memory has
 * changed. */
static bool pass_alone(void) {
    static uint64_t mine;
    static size_t slabs, large;
    size_t slabs_before = slabs, large_before = large;
    bool others = atomic_load_explicit(&hak_idle_last, memory_order_relaxed) != mine;
    hak_idle_pass(hak_os_milliseconds());
    mine = atomic_load_explicit(&hak_idle_last, memory_order_relaxed);
    slabs = atomic_load_explicit(&hak_superslab_free_dirty, memory_order_relaxed);
    large = atomic_load_explicit(&hak_release_large_dirty, memory_order_relaxed);
    return others || slabs != slabs_before || large != large_before;
}

static void soon(void) {
    if (hak_option.background)
        atomic_store_explicit(&hak_idle_last, 0, memory_order_relaxed);
}

void hak_idle_loaded(void) {
    hak_background_allow();
    soon();
}

void hak_idle_fork_child(void) {
    hak_background_forget();
    soon();
}

void hak_idle_pass(uint64_t now) {
    if (HAK_UNLIKELY(hak_option.background))
        hak_background_begin(pass_alone);
    uint64_t last = atomic_load_explicit(&hak_idle_last, memory_order_relaxed);
    if (now - last < HAK_IDLE_PERIOD_MS ||
        !atomic_compare_exchange_strong_explicit(&hak_idle_last, &last, now, memory_order_relaxed,
                                                 memory_order_relaxed))
        return;
    hak_reclaim_limited();
    hak_large_release_idle(now);
    if (now - slabs_last < hak_release_unused_ms())
        return;
    slabs_last = now;
    hak_policy_idle(now);
    (void)hak_cache_recall(false);
    hak_cache_age();
    atomic_fetch_add_explicit(&hak_slab_time, 1, memory_order_relaxed);
    if (hak_cache_sparse())
        hak_depot_purge(false);
    hak_superslab_release_idle();
}
