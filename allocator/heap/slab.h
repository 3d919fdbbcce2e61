/* slab.h: slots of one slab, taken and given by batch. Layer 3.
 *
 * The caller holds the lock of the depot that owns the slab. A slot's bit is set while the slot is free and in
 * the slab; objects in thread caches and live objects have it clear. */
#ifndef HAK_SLAB_H
#define HAK_SLAB_H

#include "allocator/pages/superslab.h"

/* Stores up to `want` free slots in out[] and clears their bits; returns how many. *zeroed: all of them are known to
 * read as zero. */
unsigned hak_slab_take_batch(hak_slab *slab, void **out, unsigned want, bool *zeroed);

/* Rises by one every second or so, while somebody calls. */
extern _Atomic uint32_t hak_slab_time;

/* Slots of a slab that nobody can take meanwhile. */
typedef struct hak_slab_part {
    uint64_t bits[HAK_BITMAP_WORDS];
    uint32_t count;
} hak_slab_part;

/* Takes all free slots; gives them back. The slab's pages in between may be purged, which the second needs no lock
 * for. */
void hak_slab_take_free(hak_slab *slab, hak_slab_part *part);
void hak_slab_purge_part(const hak_slab *slab, const hak_slab_part *part);
void hak_slab_give_free(hak_slab *slab, const hak_slab_part *part);

/* What a slab says to an object that comes home: the check that both variants have on every flush. */
typedef enum hak_slab_verdict {
    HAK_SLAB_GIVEN,
    HAK_SLAB_INTERIOR, /* not the start of a slot; nothing has changed */
    HAK_SLAB_DOUBLE,   /* the slot is free already; nothing has changed */
    HAK_SLAB_NONE,     /* of hak_depot_give_batch: the object has no slab */
} hak_slab_verdict;

/* Sets the bit of the slot at `obj`, which has the slab's tag. */
hak_slab_verdict hak_slab_give(hak_slab *slab, void *obj);
/* Ends the process for any verdict but HAK_SLAB_GIVEN. The caller holds no lock: a handler of SIGABRT may allocate. */
_Noreturn void hak_slab_blame(hak_slab_verdict verdict, const void *obj);

/* Dies unless counts, first word and bits agree. */
void hak_slab_check(const hak_slab *slab);

#endif
