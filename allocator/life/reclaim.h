/* reclaim.h: what is kept for reuse is given back because memory has run out. Layer 5. */
#ifndef HAK_RECLAIM_H
#define HAK_RECLAIM_H

#include "allocator/base/base.h"

/* In this order. */
typedef enum hak_reclaim {
    /* the thread's cache, empty slabs, free spans, what is committed and not used: with their addresses */
    HAK_RECLAIM_IDLE,
    /* what the policy keeps back for the sake of safety, too, if that can help: see hak_policy_reclaim */
    HAK_RECLAIM_QUARANTINE,
    /* what lies behind live objects and is nobody's */
    HAK_RECLAIM_EDGES,
    HAK_RECLAIMS
} hak_reclaim;

/* For a request of `size` bytes that the OS has refused. True when something was given back, or is free now: worth
 * another try. */
bool hak_reclaim_memory(size_t size, hak_reclaim how);

#endif
