/* due.h: which allocations are sampled: the first ones of a call site, and then by a countdown of the site's that is
 * drawn. sample.h has where they lie. */
#ifndef HAK_DUE_H
#define HAK_DUE_H

#include "hardening/quarantine.h"

/* The countdown of a call site. Atomic because threads without a state of their own share one; a step may get lost
 * there. */
HAK_INLINE _Atomic uint32_t *hak_site_of(hak_guarded *mine, uintptr_t caller) {
    return &mine->sites[caller % HAK_SITES]; /* return addresses are at any byte */
}

/* One allocation of the site: how many are left until one is sampled. */
HAK_INLINE uint32_t hak_site_passed(hak_guarded *mine, uintptr_t caller) {
    _Atomic uint32_t *site = hak_site_of(mine, caller);
    uint32_t left = atomic_load_explicit(site, memory_order_relaxed) - 1;
    atomic_store_explicit(site, left, memory_order_relaxed);
    return left;
}

/* True when the allocation for which code at `caller` asks is to be sampled. Restarts the countdown of the site, which
 * has run out. */
bool hak_due(hak_guarded *mine, uintptr_t caller);

/* Debug builds: no call site was seen. */
void hak_due_reset(void);

#endif
