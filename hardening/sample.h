/* sample.h: sampled objects lie between guards, and what touches the guards is caught in the act.
 *
 *   |  guard  | guard | .... object | guard |  guard  |      right-aligned: reading past the end faults
 *   |  guard  | object ....         | guard |  guard  |      left-aligned: reading before the start faults
 *
 * Sampled are the first allocation of each call site (of the first few sites the first four), one in HAKMEM_SAMPLE_RATE
 * after that, and every object of no bytes, which has no accessible byte at all. The pool is a mapping of its own
 * without a tag, so that every call finds its objects in the slow path; all checks of the ledger hold for them. A freed
 * one becomes inaccessible, and its place is the last to be used again. The pool is guarded by the hardening lock. */
#ifndef HAK_SAMPLE_H
#define HAK_SAMPLE_H

#include "hardening/inherit.h"
#include "hardening/located.h"
#include "hardening/quarantine.h"

enum {
    HAK_SAMPLE_STACK = 12,
    HAK_SAMPLE_RECORD = 256,          /* bytes */
    HAK_SAMPLE_PLACE = 128 * HAK_KIB, /* bytes of address space for one sampled object */
    HAK_SAMPLE_MAX = 64 * HAK_KIB,    /* largest sampled object */
};

typedef struct hak_sample {
    uintptr_t obj;
    size_t size;           /* bytes */
    _Atomic uint32_t word; /* as a record, without the size */
    _Atomic bool told;     /* the running sweep has reported it: once is enough where the program goes on */
    uint32_t made_by, freed_by;                                /* threads */
    uint32_t forks;                                            /* hak_forks when it was made */
    uint16_t partition;                                        /* of the place, from its first use on */
    uint32_t freed_at;                                         /* how many samples were wanted until then */
    uintptr_t made[HAK_SAMPLE_STACK], freed[HAK_SAMPLE_STACK]; /* return addresses, 0: no more */
} __attribute__((aligned(HAK_SAMPLE_RECORD))) hak_sample;
_Static_assert(sizeof(hak_sample) == HAK_SAMPLE_RECORD, "no record lies across two pages");

void hak_sample_init(void);
void hak_sample_fork_child(void);
void hak_sample_reset(
    bool stay); /* debug builds: no place was ever used, no call site seen; see hak_policy_reset */

/* Perhaps a sampled object instead of `obj`, which goes home then; else NULL. Restarts the countdown of the call
 * site. */
void *hak_sample_take_slow(void *obj, unsigned cls, size_t size, hak_origin origin, uintptr_t caller);

/* The sampled object that starts at `obj`, live or freed; NULL: none. */
hak_sample *hak_sample_find(const void *obj);

/* From live to freed, once: false when it was not live. `word`: as it was. */
bool hak_sample_end(hak_sample *sample, uint32_t *word);

/* Takes the bytes of an object away that was ended and verified. */
void hak_sample_give(hak_sample *sample, uintptr_t caller);

/* The first byte in the object's pages, at most `reach` from it, that is not as it was: those after it first; NULL: all
 * are. The caller has ended the object, or looks through hak_sample_look. */
/* The byte that fills the accessible pages around the object. */
unsigned char hak_sample_filler(const hak_sample *sample);
const unsigned char *hak_sample_overflow(const hak_sample *sample, size_t reach);

/* The same for an object that another thread may free meanwhile: NULL, too, if it is not live. False when it cannot be
 * told just now: the lock is not waited for, because a process may exit in a signal handler that has interrupted its
 * holder. */
bool hak_sample_look(const hak_sample *sample, size_t reach, const unsigned char **bad);

bool hak_sample_locate(uintptr_t addr, hak_located *out);

/* As hak_sample_locate; for an address in a place that was never used, the last sampled object before it. */
bool hak_sample_locate_before(uintptr_t addr, hak_located *out);

/* True when a fork may have torn it apart: nobody looks at it but who frees it. */
HAK_INLINE bool hak_sample_torn(const hak_sample *sample) {
    return HAK_UNLIKELY(hak_inherit_unsure) && sample->forks != hak_forks;
}

/* The live sampled object whose turn it is, when one after the other is looked at; NULL: none in this part of the pool.
 * `at`: 0 at first, kept by the caller. */
hak_sample *hak_sample_next(unsigned *at);

/* Calls `each` for every live sampled object that is not torn. */
void hak_sample_each(void (*each)(const hak_sample *sample));

#endif
