/* located.h: what is known of the memory at an address. locate.h finds it. */
#ifndef HAK_LOCATED_H
#define HAK_LOCATED_H

#include "hardening/ledger.h"

typedef enum hak_where {
    HAK_WHERE_NOWHERE,
    HAK_WHERE_SLOT,    /* in a slot, or in the guard at the end of a slab: then the last slot */
    HAK_WHERE_LARGE,   /* in a large object, or in the gap after it */
    HAK_WHERE_SAMPLED, /* in a sampled object, or in the guards around it */
} hak_where;

typedef struct hak_located {
    hak_where where;
    uintptr_t obj;                   /* where the object starts */
    size_t size;                     /* bytes asked for; of the last owner when it is not live */
    size_t room;                     /* bytes of the slot, or committed */
    size_t before;                   /* bytes before the object in its own pages: HAK_WHERE_SAMPLED, else 0 */
    uint32_t word;                   /* as a record: state, family, alignment */
    unsigned cls;                    /* HAK_WHERE_SLOT */
    const struct hak_sample *sample; /* HAK_WHERE_SAMPLED */
} hak_located;

#endif
