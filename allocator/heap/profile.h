/* profile.h: the heap profile: which allocations are sampled, and what is known of those that were. Layer 3.
 *
 * Off unless HAKMEM_HEAP_PROFILE or HAKMEM_HEAP_LEAKS ask for it at start; then hak_profile_rate is not 0. Each
 * allocation is sampled by chance, independently of all others: with 1 - exp(-size / rate), as if the bytes were
 * hit by drops that fall one in `rate` bytes on average (tcmalloc's and jemalloc's rule). A sample stands for
 * 1 / that many allocations, so sums over samples have the right expectation, whatever sizes and patterns there are.
 * `size` here is that of the slot, where there is one, so that a class has one number.
 *
 * A sampled object is a large one (a span of its own), whatever its size: so free, realloc and the rest leave their
 * fast paths by the tag, and the fast paths know nothing of samples. Who counts allocations that are not sampled:
 * ration.h.
 *
 * Guarded by hak_profile_lock. Stacks are only ever added, so that who writes them out takes no lock. */
#ifndef HAK_PROFILE_H
#define HAK_PROFILE_H

#include "allocator/base/lock.h"
#include "allocator/pages/size_class.h"

enum {
    HAK_PROFILE_STACK = 48,
    HAK_PROFILE_RATE = 512 * HAK_KIB, /* by default */
    HAK_PROFILE_RATE_MOST = 1 << 30,
};

/* What was sampled at one place, as it stands for all: objects in units of 2^-16. */
typedef struct hak_profile_stack {
    struct hak_profile_stack *next;  /* of the same hash */
    struct hak_profile_stack *older; /* of all */
    uint64_t hash;
    uint64_t live_objects, live_bytes; /* glanced at */
    uint64_t made_objects, made_bytes;
    uint64_t samples, live_samples;
    unsigned depth;
    uintptr_t frames[];
} hak_profile_stack;

extern hak_lock hak_profile_lock;

/* Bytes per sample; 0: there is no profile. Does not change after start. */
extern HAK_HIDDEN size_t hak_profile_rate;

/* Samples of which nothing is known, for lack of memory. */
extern _Atomic uint64_t hak_profile_lost;

/* `rate` as above, not 0. Without memory for it there is no profile. Size classes are ready. */
void hak_profile_init(size_t rate);

/* How many allocations of the class until one is sampled, that one included; true: an allocation of `size` bytes
 * without a class is. `random`: 64 bits. */
uint32_t hak_profile_draw(unsigned cls, uint64_t random);
bool hak_profile_hits(size_t size, uint64_t random);

/* The object was sampled; its class would have been `cls`, 0: none. Nothing about its size has to be true later. */
void hak_profile_made(void *obj, size_t size, unsigned cls, uintptr_t caller);

/* An object that has a span ends, sampled or not. */
void hak_profile_ended(void *obj);

/* The newest stack, and by `older` all. */
const hak_profile_stack *hak_profile_stacks(void);

#endif
