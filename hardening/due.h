/* due.h: chooses the sampled allocations: the first ones of each call site, and then one whenever the site's
 * random countdown ends. sample.h says where sampled objects lie. */
#ifndef HAK_DUE_H
#define HAK_DUE_H

#include "hardening/quarantine.h"

/* The countdown of a call site. Atomic, because threads without a state of their own share one; they may lose a
 * step. */
HAK_INLINE _Atomic uint32_t *hak_site_of(hak_guarded *mine, uintptr_t caller) {
    return &mine->sites[caller % HAK_SITES]; /* return addresses have any alignment */
}

/* Counts an allocation of the site. Returns how many are left until the next sample. */
HAK_INLINE uint32_t hak_site_passed(hak_guarded *mine, uintptr_t caller) {
    _Atomic uint32_t *site = hak_site_of(mine, caller);
    uint32_t left = atomic_load_explicit(site, memory_order_relaxed) - 1;
    atomic_store_explicit(site, left, memory_order_relaxed);
    return left;
}

/* True when this allocation by `caller` is to be sampled. Called when the site's countdown has ended; restarts
 * it. */
bool hak_due(hak_guarded *mine, uintptr_t caller);

/* Debug builds: forgets all call sites. */
void hak_due_reset(void);

#endif
