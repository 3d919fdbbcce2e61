/* release.h: the one place that decides when memory goes back to the OS, and gives it. Layer 2.
 *
 * Slabs and large spans report what they hold; they ask how much of their free memory is too much, pick the
 * pages themselves, and give them through hak_release_range. Policies (HAKMEM_SS_MEM_LEAN_DECOMMIT):
 *   OFF       slab memory is kept; large spans that lie idle, or are much more than what is live, go back
 *   FREE      MADV_FREE, DONTNEED MADV_DONTNEED: free memory goes back whenever resident memory is above the
 *             target, in steps of an eighth of it
 * With the memory-lean gate off (the speed profile) nothing goes back but by hak_trim. */
#ifndef HAK_RELEASE_H
#define HAK_RELEASE_H

#include "allocator/base.h"

typedef enum hak_decommit {
    HAK_DECOMMIT_OFF,
    HAK_DECOMMIT_FREE,
    HAK_DECOMMIT_DONTNEED,
} hak_decommit;

/* Bytes of large spans: live (rounded to pages) and free but perhaps resident. large.c keeps them. */
extern _Atomic size_t hak_release_large_live, hak_release_large_dirty;

/* `target`: bytes. Called once, and by tests. */
void hak_release_init(bool lean, hak_decommit decommit, size_t target);

/* Bytes of free memory above what the policy allows; 0: nothing is to be done. No lock, a few loads. */
size_t hak_release_excess(void);

/* How much free memory large.c may keep resident. Bytes and milliseconds; SIZE_MAX and UINT64_MAX: no bound. */
typedef struct hak_release_bounds {
    size_t most;   /* never more than this */
    size_t wanted; /* above this, what was not used for unused_ms goes */
    uint64_t unused_ms;
    uint64_t idle_ms; /* what was not used for so long goes in any case */
} hak_release_bounds;

hak_release_bounds hak_release_large_bounds(void);

/* True when pages given back read as zero from now on. */
bool hak_release_zeroes(void);

/* Gives the pages of a free range back, as the policy says; false when the OS refuses. */
bool hak_release_range(uintptr_t addr, size_t size);

#endif
