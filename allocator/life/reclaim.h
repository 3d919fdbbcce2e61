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

/* Looks whether the process has a new limit (mapped_limit.h), and gives back what is free then. */
void hak_reclaim_limited(void);

/* The OS has refused libc so many bytes. True: they can be had now, and could not before; so another try is worth it.
 * Gives back what is idle, and then what the policy holds back, if there is a limit to which that counts. */
bool hak_reclaim_for_others(size_t size);

#endif
