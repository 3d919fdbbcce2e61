/* tally.h: how many slots of a class all threads have freed so far, as two bounds.
 *
 * Counting each free would make all threads write to one line. So a thread counts a block of up to HAK_TALLY_LINE frees
 * at a time: `most` when the block begins, `least` when it has ended. What was freed by a moment is between the two,
 * whatever other threads do. A slot keeps `most` of some moment after its free as its stamp: when `least` is `floor`
 * above the stamp, at least `floor` slots of the class were freed since. There is no lock. */
#ifndef HAK_TALLY_H
#define HAK_TALLY_H

#include "hardening/ledger.h"

enum {
    HAK_KINDS = 2,       /* slots without and with a partition */
    HAK_TALLY_LINE = 32, /* frees: the longest block */
};

/* `most` in the upper half, so that what overflows from `least` makes it larger. Both wrap around. */
typedef struct hak_tally {
    _Atomic uint64_t both;
} __attribute__((aligned(HAK_CACHELINE))) hak_tally;

extern hak_tally hak_tallies[HAK_KINDS][HAK_TAGS];

/* A block of `promised` frees begins (a negative number: fewer will come), and `done` frees are over. Returns `most` as
 * it was before. Relaxed: only this one word is compared. */
HAK_INLINE uint32_t hak_tally_add(bool typed, unsigned cls, uint32_t done, int32_t promised) {
    uint64_t more = ((uint64_t)(uint32_t)promised << 32) + done;
    return (uint32_t)(atomic_fetch_add_explicit(&hak_tallies[typed][cls].both, more, memory_order_relaxed) >>
                      32);
}

HAK_INLINE uint32_t hak_tally_most(bool typed, unsigned cls) {
    return (uint32_t)(atomic_load_explicit(&hak_tallies[typed][cls].both, memory_order_relaxed) >> 32);
}

/* Slots of the class that were freed for certain since the stamp; 0 when it may be less than none. */
HAK_INLINE uint32_t hak_tally_since(bool typed, unsigned cls, uint32_t stamp) {
    uint32_t least = (uint32_t)atomic_load_explicit(&hak_tallies[typed][cls].both, memory_order_relaxed);
    int32_t since = (int32_t)(least - stamp);
    return since > 0 ? (uint32_t)since : 0;
}

/* In a forked child: blocks of threads that it does not have never end. `open`: frees that are promised and not done in
 * the blocks of the kind that this process still has. */
void hak_tally_again(bool typed, unsigned cls, uint32_t open);

#endif
