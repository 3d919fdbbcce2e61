/* inherit.h: which inherited memory a forked child may check.
 *
 * fork copies memory page by page while other threads of the parent run, so a child may have records and bytes
 * of different moments. If the parent had threads, the child does not check slabs and sampled objects that
 * existed at the fork, except what it frees itself. Memory that the program excluded from the copy
 * (MADV_DONTFORK) or had wiped (MADV_WIPEONFORK) is zero in the child; a canary in such a page is gone. Written
 * in a forked child with one thread, read without a lock. */
#ifndef HAK_INHERIT_H
#define HAK_INHERIT_H

#include "hardening/ledger.h"

extern HAK_HIDDEN uint32_t hak_forks; /* number of forks between the start of the library and this process */
extern HAK_HIDDEN bool hak_inherit_unsure; /* a parent had threads */

/* start: called once. begin: called in a forked child. */
void hak_inherit_start(void);
void hak_inherit_begin(void);

/* True in a child of a clone or _Fork that we have not seen: nothing is known about it. */
bool hak_inherit_unseen(void);

/* True when the address was in the used part of a region at the fork. */
bool hak_inherited(uintptr_t addr);

/* True when the address must not be checked for that reason. */
HAK_INLINE bool hak_inherit_torn(uintptr_t addr) {
    return HAK_UNLIKELY(hak_inherit_unsure) && hak_inherited(addr);
}

/* Maps the unmapped pages of the range as zeros. The parent had all of it mapped. */
void hak_inherit_fill(uintptr_t addr, size_t size);

/* True when the canary behind the object, of which `room` bytes exist, is right except for bytes in a page of
 * the object that the fork has wiped. */
bool hak_inherit_wiped(const void *obj, size_t size, size_t room);

#endif
