/* located.h: the description of the memory at an address, which locate.h fills in. */
#ifndef HAK_LOCATED_H
#define HAK_LOCATED_H

#include "hardening/ledger.h"

typedef enum hak_where {
    HAK_WHERE_NOWHERE,
    HAK_WHERE_SLOT,    /* in a slot; or in the guard at the end of a slab, described as its last slot */
    HAK_WHERE_LARGE,   /* in a large object, or in the gap after it */
    HAK_WHERE_SAMPLED, /* in a sampled object, or in the guards around it */
} hak_where;

typedef struct hak_located {
    hak_where where;
    uintptr_t obj; /* the object's start */
    size_t size;   /* requested bytes; those of the last owner when the object is not live */
    size_t room;   /* bytes of the slot, or committed bytes */
    size_t before; /* bytes before the object in its own pages: HAK_WHERE_SAMPLED, else 0 */
    uint32_t word; /* state, family and alignment, in the form of a record */
    unsigned cls;  /* HAK_WHERE_SLOT */
    const struct hak_sample *sample; /* HAK_WHERE_SAMPLED */
} hak_located;

#endif
