/* init.c: see init.h. The order of the steps is the order of the layers. */
#include "allocator/life/init.h"

#include "allocator/cache/cache.h"
#include "allocator/heap/large.h"
#include "allocator/heap/profile.h"
#include "allocator/life/idle.h"
#include "allocator/life/thread_end.h"
#include "allocator/options.h"
#include "allocator/os/config.h"
#include "allocator/os/os.h"
#include "allocator/os/os_process.h"
#include "allocator/pages/mapped_limit.h"
#include "allocator/pages/release.h"
#include "allocator/pages/tag.h"
#include "allocator/policy.h"

hak_lock hak_init_lock = HAK_LOCK_INIT(HAK_RANK_INIT);
static _Atomic bool ready;

enum { SHARDS_PER_CPU = 2 };

/* Turns the heap profile on, before any thread has a cache. */
static void profile_init(void) {
    if (hak_option.heap_rate == 0)
        return;
    if (hak_profile_rate == 0)
        hak_profile_init(hak_option.heap_rate);
    if (hak_profile_rate == 0)
        return;
    hak_size_class_rations();
    hak_cache_profile();
}

static bool init_locked(void) {
    hak_os_init();
    hak_config_read();
    (void)hak_os_strict(); /* later the process may filter its system calls */
    (void)hak_limit_look();
    hak_options_read();
    if (!hak_policy_init(hak_cache_give_one))
        return false;
    hak_size_class_init(hak_policy_slab_guard());
    profile_init();
    if (!hak_depot_init(hak_os_cpus() * SHARDS_PER_CPU) || !hak_tag_init())
        return false;
    hak_region_huge_from = hak_option.huge_from;
    hak_superslab_init();
    if (hak_os_limited())
        hak_superslab_split_all();
    hak_large_init();
    hak_release_init(hak_option.lean, hak_option.decommit, hak_option.target);
    hak_idle_init();
    (void)hak_superslab_prewarm(hak_option.prewarm); /* may fail: then the first requests map memory */
    hak_thread_end_init();
    hak_policy_seal();
    hak_os_filter_expect();
    return true;
}

static HAK_COLD bool init_slow(void) {
    hak_lock_take(&hak_init_lock);
    bool done = atomic_load_explicit(&ready, memory_order_relaxed) || init_locked();
    /* release: pairs with the acquire in hak_init */
    atomic_store_explicit(&ready, done, memory_order_release);
    hak_lock_give(&hak_init_lock);
    return done;
}

bool hak_init_is_done(void) {
    return atomic_load_explicit(&ready, memory_order_acquire);
}

bool hak_init(void) {
    return hak_init_is_done() || init_slow();
}
