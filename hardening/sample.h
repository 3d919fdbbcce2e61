/* sample.h: sampled objects lie between guards, and what touches the guards is caught in the act.
 *
 *   |  guard  | guard | .... object | guard |  guard  |      right-aligned: reading past the end faults
 *   |  guard  | object ....         | guard |  guard  |      left-aligned: reading before the start faults
 *
 * Sampled are the first allocation of each call site, one in HAKMEM_SAMPLE_RATE after that, and every object of no bytes,
 * which has no accessible byte at all. The pool is a mapping of its own without a tag, so that every call finds its objects in the
 * slow path; all checks of the ledger hold for them. A freed one becomes inaccessible, and its place is the last to be used
 * again. The pool is guarded by the hardening lock. */
#ifndef HAK_SAMPLE_H
#define HAK_SAMPLE_H

#include "hardening/locate.h"
#include "hardening/quarantine.h"

enum {
    HAK_SAMPLE_STACK = 12,
    HAK_SAMPLE_PLACE = 128 * HAK_KIB, /* bytes of address space for one sampled object */
    HAK_SAMPLE_MAX = 64 * HAK_KIB,    /* largest sampled object */
    HAK_SITES = 4096,
};

typedef struct hak_sample {
    uintptr_t obj;
    size_t size;                                               /* bytes */
    uint32_t word;                                             /* as a record, without the size */
    uint32_t made_by, freed_by;                                /* threads */
    uintptr_t made[HAK_SAMPLE_STACK], freed[HAK_SAMPLE_STACK]; /* return addresses, 0: no more */
} hak_sample;

/* Call sites that have been seen, by a hash of the return address. Bytes that change from 0 to 1; races lose nothing. */
extern HAK_HIDDEN uint8_t hak_sites[HAK_SITES];

void hak_sample_init(void);
void hak_sample_fork_child(void);
void hak_sample_reset(void); /* debug builds: no place was ever used, no call site seen */

/* Perhaps a sampled object instead of `obj`, which goes home then; else NULL. Also restarts the countdown. */
void *hak_sample_take_slow(void *obj, unsigned cls, size_t size, hak_origin origin, uintptr_t caller);

/* The sampled object that starts at `obj`, live or freed; NULL: none. */
hak_sample *hak_sample_find(const void *obj);

/* Ends the life of the object; it was judged. */
void hak_sample_give(hak_sample *sample, uintptr_t caller);

/* The first byte in the object's page after its end that is not as it was; NULL: all are. */
const unsigned char *hak_sample_overflow(const hak_sample *sample);

bool hak_sample_locate(uintptr_t addr, hak_located *out);

/* Calls `each` for every live sampled object. */
void hak_sample_each(void (*each)(const hak_sample *sample));

HAK_INLINE bool hak_site_is_new(uintptr_t caller) {
    return hak_sites[(caller * 0x9e3779b97f4a7c15u ^ caller) >> 52 & (HAK_SITES - 1)] == 0;
}

#endif
