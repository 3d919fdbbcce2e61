/* release.h: decides when memory goes back to the OS, and gives it back. Nothing else does. Layer 2.
 *
 * The code of slabs and of large spans counts what it holds. It asks here how much of its free memory is too
 * much, chooses the pages, and purges them with hak_release_range. Policies (HAKMEM_SS_MEM_LEAN_DECOMMIT):
 *   OFF       memory that is used again and again stays. Memory that was unused for a time goes, and so does
 *             free memory that is much compared with live memory.
 *   FREE      MADV_FREE, DONTNEED MADV_DONTNEED: free memory goes back whenever resident memory is above the
 *             target, in steps of an eighth of it
 * With the memory-lean gate off (the speed profile) that time is longer. docs/DESIGN.md has the law as a
 * formula. */
#ifndef HAK_RELEASE_H
#define HAK_RELEASE_H

#include "allocator/base/base.h"

typedef enum hak_decommit {
    HAK_DECOMMIT_OFF,
    HAK_DECOMMIT_FREE,
    HAK_DECOMMIT_DONTNEED,
} hak_decommit;

/* Bytes of live large spans (rounded to pages), and of free ones that may be resident. Kept by large.c. */
extern _Atomic size_t hak_release_large_live, hak_release_large_dirty;

/* Bytes of slots, in slabs in use, that no thread has and whose memory was given back. The policy counts them. */
extern _Atomic size_t hak_release_slabs_bare;
/* Bytes of slabs in use without those slots. */
size_t hak_release_slabs_live(void);

/* `target`: bytes. Called once, and by tests. */
void hak_release_init(bool lean, hak_decommit decommit, size_t target);

/* Bytes of free memory above what the policy allows; 0: nothing to do. Takes no lock and costs a few loads. */
size_t hak_release_excess(void);

enum {
    /* Free memory of slabs, and of large spans, that is kept although it is unused. So a small program in a
     * steady state never calls the OS. */
    HAK_RELEASE_SLAB_KEEP_MIN = 4 * HAK_MIB,
    HAK_RELEASE_LARGE_KEEP_MIN = 4 * HAK_MIB,
    HAK_RELEASE_OVERSIZE = 8 * HAK_MIB, /* bytes; such an object is itself much of a heap */
};

/* Bytes of free slab memory that are kept while fresh memory is taken. */
size_t hak_release_slab_keep(void);

/* Bytes of free slab memory above which some goes when a slab is freed; SIZE_MAX: none goes. */
size_t hak_release_slab_most(void);

/* Milliseconds. Memory that was free for hak_release_unused_ms goes, except the minimum above. Large memory that
 * was free for hak_release_idle_ms goes without exception. */
uint64_t hak_release_unused_ms(void);
uint64_t hak_release_idle_ms(void);

/* The most free large memory that may be resident right after an object of `freed` bytes was freed. Memory that
 * was purged for this limit (given) and is requested again (missed) raises the limit, so a program whose need
 * swings keeps as much as it swings by. hak_release_large_decay lowers the limit again, by at most half each
 * time. `highest`: the highest hak_release_large_dirty since the previous call. */
size_t hak_release_large_most(size_t freed);
void hak_release_large_given(size_t bytes);
void hak_release_large_missed(size_t bytes);
void hak_release_large_decay(size_t highest);

/* True when purged pages read as zero. */
bool hak_release_zeroes(void);

/* Purges the pages of a free range, as the policy says. False: the OS refused. */
bool hak_release_range(uintptr_t addr, size_t size);

#endif
