/* slab.h: slots of one slab, taken and given by batch. Layer 3.
 *
 * The caller holds the lock of the depot that owns the slab. A slot's bit is set while the slot is free and in
 * the slab; objects in thread caches and live objects have it clear. */
#ifndef HAK_SLAB_H
#define HAK_SLAB_H

#include "allocator/superslab.h"

/* Stores up to `want` free slots in out[] and clears their bits; returns how many. */
unsigned hak_slab_take_batch(hak_slab *slab, void **out, unsigned want);

/* Sets the bit of the slot at `obj`, which has the slab's tag. Dies when `obj` is not the start of a slot or the
 * slot is free already: the check that both variants have on every flush. */
void hak_slab_give(hak_slab *slab, void *obj);

/* Dies unless counts, first word and bits agree. */
void hak_slab_check(const hak_slab *slab);

#endif
