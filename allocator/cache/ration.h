/* ration.h: how the heap profile counts every allocation without a question on the fast path. Layer 4.
 *
 * With the profile on, the tables from sizes to classes (hak_cache.fine, hak_class_coarse) hold other numbers: not of
 * a class's bin but of its ration, a stack of a few objects that malloc pops from, and that nothing is pushed to. free
 * goes by the tag and pushes to the bin as ever. So a ration ends after as many allocations as it had objects, and the
 * slow call that comes then has counted them before, when it filled it: never with more than are left until the next
 * sample. The bin's newest objects go into the ration, in their order.
 *
 *   malloc   pop <- | ration: o o o |  <- moved at slow calls -  | bin: o o o o o o |  <- push   free
 *
 * Rations belong to a thread, as its cache does. */
#ifndef HAK_RATION_H
#define HAK_RATION_H

#include "allocator/cache/cache.h"

/* The calling thread, which has begun, is about to allocate from the class (0: none) by a slow call: true when that
 * is to be sampled, and it is not counted again. Threads without a cache are never sampled. */
bool hak_ration_due(unsigned cls, size_t size);

/* The quick way for most slow calls that a profile causes: counts an allocation of the class and takes an object from
 * the bin, and the ration is filled; NULL, and nothing has changed: the other ways have to do. */
void *hak_ration_pop(unsigned cls);

/* As hak_ration_due without counting: whether the next of the class, not 0, will be. */
bool hak_ration_next_due(unsigned cls);

/* Moves objects from the class's bin to its ration, if that is empty. */
void hak_ration_fill(unsigned cls);

/* A sampled object is being made: what is allocated meanwhile by this thread (by the unwinder) is not sampled. */
void hak_ration_busy(bool busy);

#endif
