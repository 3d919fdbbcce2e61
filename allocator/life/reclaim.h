/* reclaim.h: gives back memory that is kept for reuse, because memory has run out. Layer 5. */
#ifndef HAK_RECLAIM_H
#define HAK_RECLAIM_H

#include "allocator/base/base.h"

/* What to give back, in this order. */
typedef enum hak_reclaim {
    /* the thread's cache, empty slabs, free spans, unused committed memory: addresses included */
    HAK_RECLAIM_IDLE,
    /* also what the policy holds back for safety, if that can help (hak_policy_reclaim) */
    HAK_RECLAIM_QUARANTINE,
    /* unused memory behind live objects */
    HAK_RECLAIM_EDGES,
    HAK_RECLAIMS
} hak_reclaim;

/* For a request of `size` bytes that the OS has refused. True: memory was given back or is free now, so another
 * try is worth it. */
bool hak_reclaim_memory(size_t size, hak_reclaim how);

#endif
