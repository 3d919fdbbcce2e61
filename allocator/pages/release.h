/* release.h: the one place that decides when memory goes back to the OS, and gives it. Layer 2.
 *
 * Slabs and large spans report what they hold; they ask how much of their free memory is too much, pick the
 * pages themselves, and give them through hak_release_range. Policies (HAKMEM_SS_MEM_LEAN_DECOMMIT):
 *   OFF       what is used over and over stays; what was not used for a while goes, and what is much more than what is
 *   live
 *   FREE      MADV_FREE, DONTNEED MADV_DONTNEED: free memory goes back whenever resident memory is above the
 *             target, in steps of an eighth of it
 * With the memory-lean gate off (the speed profile) the while is longer. docs/DESIGN.md has the law as a formula. */
#ifndef HAK_RELEASE_H
#define HAK_RELEASE_H

#include "allocator/base/base.h"

typedef enum hak_decommit {
    HAK_DECOMMIT_OFF,
    HAK_DECOMMIT_FREE,
    HAK_DECOMMIT_DONTNEED,
} hak_decommit;

/* Bytes of large spans: live (rounded to pages) and free but perhaps resident. large.c keeps them. */
extern _Atomic size_t hak_release_large_live, hak_release_large_dirty;

/* Of slabs in use: bytes of slots that nobody has and that have no memory. The policy counts them. */
extern _Atomic size_t hak_release_slabs_bare;
/* Bytes of slabs in use without those. */
size_t hak_release_slabs_live(void);

/* `target`: bytes. Called once, and by tests. */
void hak_release_init(bool lean, hak_decommit decommit, size_t target);

/* Whether free memory goes back in a steady state, too. */
bool hak_release_is_lean(void);

/* Bytes of free memory above what the policy allows; 0: nothing is to be done. No lock, a few loads. */
size_t hak_release_excess(void);

enum {
    /* Free memory that is kept however long it lies: of slabs, and of large spans. A steady state of a small program
     * never asks the OS. */
    HAK_RELEASE_SLAB_KEEP_MIN = 4 * HAK_MIB,
    HAK_RELEASE_LARGE_KEEP_MIN = 4 * HAK_MIB,
    HAK_RELEASE_OVERSIZE = 8 * HAK_MIB, /* an object that is itself much of a heap */
};

/* Free slab memory that is kept while fresh memory is taken. Bytes. */
size_t hak_release_slab_keep(void);

/* What was free for so long is not needed, but for the minimum above; for several times as long, not at all.
 * Milliseconds. */
uint64_t hak_release_unused_ms(void);
uint64_t hak_release_idle_ms(void);

/* Free large memory that may be resident right after an object of `freed` bytes was freed. What was given back for
 * being more than that and is asked for again raises it (a program whose need swings keeps what it swings by), and
 * what is not needed lowers it again, by half each time. */
size_t hak_release_large_most(size_t freed);
void hak_release_large_given(size_t bytes);
void hak_release_large_missed(size_t bytes);
void hak_release_large_decay(
    size_t highest); /* `highest`: that hak_release_large_dirty was since the call before */

/* True when pages given back read as zero from now on. */
bool hak_release_zeroes(void);

/* Gives the pages of a free range back, as the policy says; false when the OS refuses. */
bool hak_release_range(uintptr_t addr, size_t size);

#endif
