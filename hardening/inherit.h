/* inherit.h: what a forked child may believe of the memory that it has from its parent.
 *
 * fork copies page by page while the parent's other threads go on, so that a child has records of one moment and bytes
 * of another: where the parent had threads, nothing is looked at in slabs and sampled objects that were there at the
 * fork, but what the child itself frees. What the program had left out of the copy (MADV_DONTFORK) is zeros in the
 * child, as what it wanted wiped (MADV_WIPEONFORK): a canary in a page of the object's own may be gone with it. Written
 * in a forked child with one thread, read without a lock. */
#ifndef HAK_INHERIT_H
#define HAK_INHERIT_H

#include "hardening/ledger.h"

extern HAK_HIDDEN uint32_t hak_forks;      /* 0: this process was not forked since the library was loaded */
extern HAK_HIDDEN bool hak_inherit_unsure; /* and some parent had threads */

/* Once, at start; in a forked child. */
void hak_inherit_start(void);
void hak_inherit_begin(void);

/* True in a child that was made behind our back (clone, _Fork): nothing at all is known. */
bool hak_inherit_unseen(void);

/* True when the address lies in what a region had in use at the fork. */
bool hak_inherited(uintptr_t addr);

/* The same, where that must not be looked at. */
HAK_INLINE bool hak_inherit_torn(uintptr_t addr) {
    return HAK_UNLIKELY(hak_inherit_unsure) && hak_inherited(addr);
}

/* Makes zeros of what is not mapped in the range, all of which the parent had mapped. */
void hak_inherit_fill(uintptr_t addr, size_t size);

/* True when the canary at the end of the object, of which there are `room` bytes at most, is what it must be but for a
 * page of the object's own that the fork has wiped. */
bool hak_inherit_wiped(const void *obj, size_t size, size_t room);

#endif
