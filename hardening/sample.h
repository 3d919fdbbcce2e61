/* sample.h: sampled objects, which lie between guards, so that an access to a guard is caught at once.
 *
 *   |  guard  | guard | .... object | guard |  guard  |      right-aligned: reading past the end faults
 *   |  guard  | object ....         | guard |  guard  |      left-aligned: reading before the start faults
 *
 * Sampled are the first allocation of each call site (the first four of the first few sites), one in
 * HAKMEM_SAMPLE_RATE after that, and every object of 0 bytes, which has no accessible byte. The pool is a
 * mapping of its own without tags, so every call finds its objects on the slow path; all checks of the ledger
 * apply to them. A freed object becomes inaccessible, and its place is reused last. The hardening lock guards
 * the pool. */
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
    size_t size;                /* bytes */
    _Atomic uint32_t word;      /* in the form of a record, without the size */
    _Atomic bool told;          /* the running sweep has reported it, and does not report it again */
    uint32_t made_by, freed_by; /* threads */
    uint32_t forks;             /* hak_forks when it was allocated */
    uint16_t partition;         /* partition of the place, from its first use on */
    uint32_t freed_at;          /* number of samples wanted before it was freed */
    uintptr_t made[HAK_SAMPLE_STACK], freed[HAK_SAMPLE_STACK]; /* return addresses; 0 ends them */
} __attribute__((aligned(HAK_SAMPLE_RECORD))) hak_sample;
_Static_assert(sizeof(hak_sample) == HAK_SAMPLE_RECORD, "no record lies across two pages");

void hak_sample_init(void);
void hak_sample_fork_child(void);
void hak_sample_reset(bool stay); /* debug builds: forgets all places and call sites; see hak_policy_reset */

/* May return a sampled object in the place of `obj`, which then goes back to its depot; else NULL. Restarts the
 * countdown of the call site. */
void *hak_sample_take_slow(void *obj, unsigned cls, size_t size, hak_origin origin, uintptr_t caller);

/* The sampled object at `obj`, live or freed; NULL: none. */
hak_sample *hak_sample_find(const void *obj);

/* Changes the object from live to freed. False: it was not live. *word: its state before. */
bool hak_sample_end(hak_sample *sample, uint32_t *word);

/* Unmaps the bytes of a freed and verified object. */
void hak_sample_give(hak_sample *sample, uintptr_t caller);

/* The byte that fills the accessible pages around the object. */
unsigned char hak_sample_filler(const hak_sample *sample);

/* Returns the first changed byte in the object's pages, at most `reach` bytes from the object; looks at those after it
 * first. NULL: none. The caller has freed the object, or calls through hak_sample_look. */
const unsigned char *hak_sample_overflow(const hak_sample *sample, size_t reach);

/* The same as hak_sample_overflow for an object that another thread may free meanwhile; *bad is NULL as well when
 * the object is not live. False: the lock is taken, so the answer is unknown. The call does not wait for the lock,
 * because a process may exit in a signal handler that interrupted the holder. */
bool hak_sample_look(const hak_sample *sample, size_t reach, const unsigned char **bad);

bool hak_sample_locate(uintptr_t addr, hak_located *out);

/* As hak_sample_locate, but for an address in a place that was never used finds the last sampled object before
 * it. */
bool hak_sample_locate_before(uintptr_t addr, hak_located *out);

/* True when a fork may have copied the object at different moments. Such an object is checked only when it is
 * freed. */
HAK_INLINE bool hak_sample_torn(const hak_sample *sample) {
    return HAK_UNLIKELY(hak_inherit_unsure) && sample->forks != hak_forks;
}

/* For a walk over live sampled objects: returns the next one; NULL: none in this part of the pool. `at`: 0 at first;
 * the caller keeps it unchanged between calls. */
hak_sample *hak_sample_next(unsigned *at);

/* Calls `each` for every live sampled object that is not torn by a fork. */
void hak_sample_each(void (*each)(const hak_sample *sample));

#endif
