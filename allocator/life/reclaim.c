/* reclaim.c: see reclaim.h. */
#include "allocator/life/reclaim.h"

#include "allocator/cache/cache.h"
#include "allocator/heap/large.h"
#include "allocator/policy.h"

static bool give_idle(void) {
    hak_policy_scarce();
    size_t held = hak_cache_held();
    hak_cache_flush_all();
    hak_depot_trim();
    size_t given = hak_large_hollow() + hak_superslab_hollow();
    return given + hak_region_trim() + held != 0;
}

/* What leaves a quarantine is idle then. */
bool hak_reclaim_memory(size_t size, hak_reclaim how) {
    if (size >> HAK_ADDRESS_BITS != 0)
        return false; /* nothing helps */
    if (how == HAK_RECLAIM_IDLE)
        return give_idle();
    if (!hak_policy_reclaim(size))
        return false;
    (void)give_idle();
    return true;
}
