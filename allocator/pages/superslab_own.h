/* superslab_own.h: shared by superslab.c (slabs come and go), superslab_back.c (memory goes back to the OS) and
 * superslab_check.c (the walker). hak_superslab_lock guards everything here. Layer 2. */
#ifndef HAK_SUPERSLAB_OWN_H
#define HAK_SUPERSLAB_OWN_H

#include "allocator/pages/superslab.h"

/* Superslabs by the order of their largest free run, in no order of address. */
extern HAK_HIDDEN hak_link hak_superslab_with_run[HAK_SUPERSLAB_ORDERS];

/* The lowest value of hak_superslab_free_dirty since the last hak_superslab_release_idle. */
extern HAK_HIDDEN size_t hak_superslab_lowest;

/* The order of the largest free run; HAK_SUPERSLAB_ORDERS: nothing is free. */
unsigned hak_superslab_largest_order(uint32_t free_mask);

/* A mask of the granules of slabs in use that have slots. */
uint32_t hak_superslab_memory_in_use(const hak_superslab *superslab);

/* hak_superslab_purge, for a caller that holds the lock. */
size_t hak_superslab_purge_locked(size_t keep);

/* Under a limit, unmaps the superslab's free granules. Returns bytes; 0: there is no limit, there are too many gaps, or
 * the OS refused. */
size_t hak_superslab_unmap(hak_superslab *superslab);

/* hak_superslab_exchange, for a caller that holds the lock. */
void hak_superslab_exchange_locked(size_t bytes);

/* The end of the lowest run of ones in `mask`. */
HAK_INLINE unsigned hak_run_end(uint32_t mask) {
    unsigned first = hak_lowest_bit(mask);
    uint32_t zeros = ~mask >> first;
    return zeros != 0 ? first + hak_lowest_bit(zeros) : HAK_SUPERSLAB_GRANULES;
}

/* Removes the lowest run of ones from `mask`, and returns it. */
HAK_INLINE uint32_t hak_run_next(uint32_t *mask) {
    unsigned first = hak_lowest_bit(*mask);
    uint32_t run = hak_ones32(first, hak_run_end(*mask) - first);
    *mask &= ~run;
    return run;
}

HAK_INLINE uintptr_t hak_run_start(const hak_superslab *superslab, uint32_t run) {
    return superslab->start + (size_t)hak_lowest_bit(run) * HAK_GRANULE;
}

/* Number of runs of hollow granules, those of superslabs that are hollow as a whole excepted: each may be a gap between
 * two of the kernel's mappings. */
extern HAK_HIDDEN size_t hak_superslab_gaps;

/* Sets the hollow granules. */
HAK_INLINE void hak_superslab_set_hollow(hak_superslab *superslab, uint32_t mask) {
    uint32_t before = superslab->hollow_mask;
    hak_superslab_gaps += (size_t)__builtin_popcount(mask & ~(mask << 1)) - (~mask == 0);
    hak_superslab_gaps -= (size_t)__builtin_popcount(before & ~(before << 1)) - (~before == 0);
    HAK_SHOW(superslab->hollow_mask, mask);
}

HAK_INLINE size_t hak_run_bytes(uint32_t mask) {
    return (size_t)__builtin_popcount(mask) * HAK_GRANULE;
}

#endif
