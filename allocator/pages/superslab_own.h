/* superslab_own.h: shared by superslab.c (slabs come and go), superslab_back.c (memory goes back to the OS) and
 * superslab_check.c (the walker). All is guarded by hak_superslab_lock. Layer 2. */
#ifndef HAK_SUPERSLAB_OWN_H
#define HAK_SUPERSLAB_OWN_H

#include "allocator/pages/superslab.h"

/* Superslabs by the order of their largest free run, in no order of address. */
extern HAK_HIDDEN hak_link hak_superslab_with_run[HAK_SUPERSLAB_ORDERS];

/* The least that hak_superslab_free_dirty was since the last hak_superslab_release_idle. */
extern HAK_HIDDEN size_t hak_superslab_lowest;

/* The order of the largest free run; HAK_SUPERSLAB_ORDERS: nothing is free. */
unsigned hak_superslab_largest_order(uint32_t free_mask);

/* Granules of slabs in use that have a slot. */
uint32_t hak_superslab_memory_in_use(const hak_superslab *superslab);

/* Gives pages of free memory back until at most `keep` bytes are left. Bytes. */
size_t hak_superslab_purge_locked(size_t keep);

/* hak_superslab_exchange, for a caller that holds the lock. */
void hak_superslab_exchange_locked(size_t bytes);

/* The end of the run of ones in `mask` that begins with its lowest. */
HAK_INLINE unsigned hak_run_end(uint32_t mask) {
    unsigned first = hak_lowest_bit(mask);
    uint32_t zeros = ~mask >> first;
    return zeros != 0 ? first + hak_lowest_bit(zeros) : HAK_SUPERSLAB_GRANULES;
}

/* Takes the lowest run of ones out of `mask`, and returns it. */
HAK_INLINE uint32_t hak_run_next(uint32_t *mask) {
    unsigned first = hak_lowest_bit(*mask);
    uint32_t run = hak_ones32(first, hak_run_end(*mask) - first);
    *mask &= ~run;
    return run;
}

HAK_INLINE uintptr_t hak_run_start(const hak_superslab *superslab, uint32_t run) {
    return superslab->start + (size_t)hak_lowest_bit(run) * HAK_GRANULE;
}

HAK_INLINE size_t hak_run_bytes(uint32_t mask) {
    return (size_t)__builtin_popcount(mask) * HAK_GRANULE;
}

#endif
