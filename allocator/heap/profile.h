/* profile.h: the heap profile: chooses the sampled allocations and records them. Layer 3.
 *
 * Off unless HAKMEM_HEAP_PROFILE or HAKMEM_HEAP_LEAKS turn it on at start; then hak_profile_rate is not 0. Each
 * allocation is sampled independently with probability p = 1 - exp(-size / rate), as if one byte in `rate` on
 * average were hit by a drop (the rule of tcmalloc and jemalloc). A sample stands for 1 / p allocations, so
 * sums over samples have the right expectation for any sizes and patterns. For a small object `size` is that of
 * its slot, so that each class has one probability.
 *
 * A sampled object of any size has a span of its own, like a large object. Its tag therefore sends free,
 * realloc and the rest to their slow paths, and the fast paths know nothing of samples. ration.h counts the
 * other allocations.
 *
 * Guarded by hak_profile_lock. Stacks are only ever added, so a reader takes no lock. */
#ifndef HAK_PROFILE_H
#define HAK_PROFILE_H

#include "allocator/base/lock.h"
#include "allocator/pages/size_class.h"

enum {
    HAK_PROFILE_STACK = 48,
    HAK_PROFILE_RATE = 512 * HAK_KIB, /* the default */
    HAK_PROFILE_RATE_MOST = 1 << 30,
};

/* The samples of one call stack, scaled to all its allocations. Objects are counted in units of 2^-16. */
typedef struct hak_profile_stack {
    struct hak_profile_stack *next;  /* in the list of this hash */
    struct hak_profile_stack *older; /* in the list of all stacks */
    uint64_t hash;
    uint64_t live_objects, live_bytes; /* read by HAK_GLANCE */
    uint64_t made_objects, made_bytes;
    uint64_t samples, live_samples;
    unsigned depth;
    uintptr_t frames[];
} hak_profile_stack;

extern hak_lock hak_profile_lock;

/* Bytes per sample; 0: no profile. Constant after start. */
extern HAK_HIDDEN size_t hak_profile_rate;

/* Number of samples that were not recorded for lack of memory. */
extern _Atomic uint64_t hak_profile_lost;

/* Turns the profile on; `rate` is not 0. Without memory the profile stays off. Call after the size classes are
 * ready. */
void hak_profile_init(size_t rate);

/* hak_profile_draw: the number of allocations of the class up to and including the next sample.
 * hak_profile_hits: true when an allocation of `size` bytes without a class is sampled. `random`: 64 bits. */
uint32_t hak_profile_draw(unsigned cls, uint64_t random);
bool hak_profile_hits(size_t size, uint64_t random);

/* Records a sampled object. `cls` is the class that it would have had; 0: none. */
void hak_profile_made(void *obj, size_t size, unsigned cls, uintptr_t caller);

/* An object with a span is freed; it may be a sampled one. */
void hak_profile_ended(void *obj);

/* The newest stack; `older` leads to all others. */
const hak_profile_stack *hak_profile_stacks(void);

#endif
