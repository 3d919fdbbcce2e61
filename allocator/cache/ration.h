/* ration.h: how the heap profile counts every allocation without a test on the fast path. Layer 4.
 *
 * With the profile on, the tables from sizes to classes (hak_cache.fine, hak_class_coarse) name rations instead
 * of bins. A ration is a stack of a few objects of a class; malloc pops from it, and nothing pushes to it. free
 * uses the tag and pushes to the bin as always. So a ration is empty after as many allocations as it had
 * objects. The slow call that filled it counted them in advance, and never put in more objects than are left
 * until the next sample. Rations take the newest objects of the bin, in their order.
 *
 *   malloc   pop <- | ration: o o o |  <- moved at slow calls -  | bin: o o o o o o |  <- push   free
 *
 * Rations belong to a thread, like its cache. */
#ifndef HAK_RATION_H
#define HAK_RATION_H

#include "allocator/cache/cache.h"

/* Counts an allocation of the class (0: none) by a slow call of the calling thread, which has begun. True: this
 * allocation is to be sampled. Threads without a cache are never sampled. */
bool hak_ration_due(unsigned cls, size_t size);

/* The quick path of most slow calls that a profile causes: counts an allocation of the class, pops an object
 * from the bin and fills the ration. NULL: not possible; nothing has changed. */
void *hak_ration_pop(unsigned cls);

/* True when the next allocation of the class (not 0) would be sampled. Counts nothing. */
bool hak_ration_next_due(unsigned cls);

/* Moves objects from the class's bin to its ration, if the ration is empty. */
void hak_ration_fill(unsigned cls);

/* While `busy`, the calling thread is making a sampled object, and its other allocations (by the unwinder) are
 * not sampled. */
void hak_ration_busy(bool busy);

#endif
