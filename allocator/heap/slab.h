/* slab.h: takes and gives the slots of one slab, in batches. Layer 3.
 *
 * The caller holds the lock of the slab's depot. A slot's bit is set while the slot is free and in the slab. It
 * is clear for live objects and for objects in thread caches. */
#ifndef HAK_SLAB_H
#define HAK_SLAB_H

#include "allocator/pages/superslab.h"

/* Takes up to `want` free slots into out[] and returns how many. *zeroed: all of them are known to read as
 * zero. */
unsigned hak_slab_take_batch(hak_slab *slab, void **out, unsigned want, bool *zeroed);

/* A coarse clock: rises by one about every second, while any thread calls. */
extern _Atomic uint32_t hak_slab_time;

/* Free slots of a slab that are set aside, so that no thread takes them. */
typedef struct hak_slab_part {
    uint64_t bits[HAK_BITMAP_WORDS];
    uint32_t count;
} hak_slab_part;

/* take_free sets all free slots aside, give_free returns them. In between, purge_part may purge the pages of
 * these slots; it needs no lock. `also`: slots that the caller has, whose pages go, too; NULL: none. */
void hak_slab_take_free(hak_slab *slab, hak_slab_part *part);
void hak_slab_purge_part(const hak_slab *slab, const hak_slab_part *part, const hak_slab_part *also);
void hak_slab_give_free(hak_slab *slab, const hak_slab_part *part);

/* The result of giving an object to its slab: the check that both variants make at every flush. */
typedef enum hak_slab_verdict {
    HAK_SLAB_GIVEN,
    HAK_SLAB_INTERIOR, /* the address is not the start of a slot; nothing has changed */
    HAK_SLAB_DOUBLE,   /* the slot is free already; nothing has changed */
    HAK_SLAB_NONE,     /* only from hak_depot_give_batch: the object has no slab */
} hak_slab_verdict;

/* Gives the slot at `obj`, whose address has the slab's tag. */
hak_slab_verdict hak_slab_give(hak_slab *slab, void *obj);
/* Ends the process for any verdict but HAK_SLAB_GIVEN. The caller holds no lock, because a handler of SIGABRT
 * may allocate. */
_Noreturn void hak_slab_blame(hak_slab_verdict verdict, const void *obj);

/* Dies unless the count, the first word and the bits agree. */
void hak_slab_check(const hak_slab *slab);

#endif
