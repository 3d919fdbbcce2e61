/* policy_speed.h: the hooks of the speed variant. Most are empty and fold away. Only policy.h includes this
 * file. */
#ifndef HAK_POLICY_SPEED_H
#define HAK_POLICY_SPEED_H

#include "allocator/pages/tag.h"
#include "allocator/policy.h"

#include <string.h>

#define HAK_POLICY_NAME "speed"
enum {
    HAK_POLICY_CLASS_BOUND = 0,     /* free slabs may change their class */
    HAK_POLICY_USABLE_IS_ASKED = 0, /* the program may use the whole slot, or all pages */
    HAK_POLICY_MOVES_PAGES = 1,     /* realloc may move a large object's pages instead of copying */
    HAK_POLICY_FILL_PART = 3,       /* realloc keeps an object in its slot while it fills a third of it */
    HAK_POLICY_RANDOM_SLOTS = 0,
    HAK_POLICY_EXTRA = 0,
    HAK_POLICY_DOUBTS_ZERO = 0, /* memory that should be zero is zero */
    HAK_POLICY_NOTHING_APART = 0,
    HAK_POLICY_ASKS_CALLER = 0, /* the fast paths do not need the call site */
    HAK_POLICY_SHARERS = 4,     /* so many shards share one for wide slots: see cache.c */
    HAK_POLICY_SLAB_SLOTS =
        0, /* slabs have no more slots than size_class.c says; for slots up to so many bytes: */
    HAK_POLICY_SLAB_SLOTS_SIZE = 0,
    HAK_POLICY_PARTITIONS = 0, /* the variant has no typed heap */
};

static inline bool hak_policy_init(void (*give)(void *obj, unsigned cls)) {
    (void)give;
    return true;
}
static inline void hak_policy_seal(void) {}
static inline void hak_policy_fork_child(void) {}
static inline void hak_policy_reset(bool stay) {
    (void)stay;
}
static inline hak_lock *hak_policy_lock(unsigned i) {
    (void)i;
    return NULL;
}
static inline unsigned hak_policy_tag(const void *obj) {
    return hak_tag_of(obj);
}
static inline bool hak_policy_owns(const void *obj) {
    return (void)obj, false;
}
static inline unsigned hak_policy_granule_choice(void) {
    return 0;
}
static inline size_t hak_policy_slab_guard(void) {
    return 0;
}
static inline size_t hak_policy_region_align(hak_region_kind kind) {
    return (void)kind, HAK_SUPERSLAB;
}
static inline hak_region_kind hak_policy_large_kind(size_t align, unsigned partition) {
    return (void)align, (void)partition, HAK_REGION_LARGE;
}
static inline void hak_policy_mapped(hak_region_kind kind, uintptr_t addr, size_t size) {
    (void)kind, (void)addr, (void)size;
}
static inline bool hak_policy_region_born(hak_region *region, size_t size) {
    return (void)region, (void)size, true;
}
static inline bool hak_policy_region_commit(hak_region *region, size_t end) {
    return (void)region, (void)end, true;
}
static inline void hak_policy_region_dies(hak_region *region) {
    (void)region;
}
static inline bool hak_policy_slab_born(hak_slab *slab) {
    return (void)slab, true;
}
static inline bool hak_policy_slab_open(hak_slab *slab) {
    (void)slab;
    return false;
}
static inline void hak_policy_slab_dies(hak_slab *slab) {
    (void)slab;
}
static inline void hak_policy_slab_purged(const hak_slab *slab) {
    (void)slab;
}
static inline void hak_policy_hollowed(uintptr_t superslab, uint32_t mask) {
    (void)superslab, (void)mask;
}
static inline bool hak_policy_may_hollow(void) {
    return true;
}

static inline unsigned hak_policy_partition(size_t token) {
    return (void)token, 0;
}
static inline unsigned hak_policy_partition_of_site(uintptr_t caller) {
    return (void)caller, 0;
}
static inline unsigned hak_policy_partition_of(const void *obj) {
    return (void)obj, 0;
}
static inline unsigned hak_policy_partition_of_slot(const void *obj, unsigned *cls) {
    *cls = hak_tag_of(obj);
    return 0;
}
static inline size_t hak_policy_request(size_t size) {
    return size;
}
static inline size_t hak_policy_usable(const void *obj, unsigned tag, size_t capacity) {
    return (void)obj, (void)tag, capacity;
}
static inline void *hak_policy_on_alloc(void *obj, unsigned cls, size_t size, hak_origin origin,
                                        uintptr_t caller) {
    return (void)cls, (void)size, (void)origin, (void)caller, obj;
}
static inline void hak_policy_on_resize(void *obj, unsigned cls, size_t size) {
    (void)obj, (void)cls, (void)size;
}
static inline bool hak_policy_on_free(void **obj, unsigned *tag, hak_claim claim) {
    (void)claim;
    *tag = hak_tag_of(*obj);
    return true;
}
static inline bool hak_policy_on_first_free(void **obj, unsigned cls) {
    return (void)obj, (void)cls, true;
}
static inline void *hak_policy_clear(void *obj, size_t size) {
    return memset(obj, 0, size);
}
static inline void hak_policy_on_next(const void *next) {
    (void)next;
}
static inline void hak_policy_check_live(const void *obj, unsigned tag, const char *call, uintptr_t caller) {
    (void)obj, (void)tag, (void)call, (void)caller;
}
/* The lowest address first, to touch the fewest pages. */
static inline uint32_t hak_policy_slot_choice(uint32_t count) {
    return (void)count, 0;
}
/* Reverses the order, so that a program that allocates in a row gets rising addresses (docs/decisions/021). */
static inline void hak_policy_on_refill(void **objs, unsigned count) {
    for (unsigned i = 0, j = count - 1; i < j; i++, j--) {
        void *first = objs[i];
        objs[i] = objs[j];
        objs[j] = first;
    }
}

static inline size_t hak_policy_large_gap(size_t size) {
    return (void)size, 0;
}
static inline void hak_policy_large_hollowed(hak_region *region, uintptr_t start, size_t size) {
    (void)region, (void)start, (void)size;
}
static inline size_t hak_policy_large_end(const void *obj, size_t capacity) {
    (void)obj;
    return capacity;
}
static inline void hak_policy_large_settle(bool begins) {
    (void)begins;
}
static inline bool hak_policy_on_large_alloc(void *obj, size_t size, size_t capacity, hak_origin origin) {
    return (void)obj, (void)size, (void)capacity, (void)origin, true;
}
static inline bool hak_policy_large_hold(void *obj) {
    (void)obj;
    return true;
}
static inline void hak_policy_large_unhold(void *obj) {
    (void)obj;
}
static inline bool hak_policy_on_large_resize(void *obj, size_t size, size_t capacity) {
    return (void)obj, (void)size, (void)capacity, true;
}
static inline bool hak_policy_unmaps(size_t bytes) {
    return (void)bytes, false; /* it may be used again */
}
static inline bool hak_policy_tail_stays(void) {
    return false;
}
static inline bool hak_policy_on_large_free(void *obj) {
    return (void)obj, true;
}

static inline void hak_policy_held(hak_held *held) {
    (void)held;
}
static inline void hak_policy_held_large(hak_held_large *held) {
    (void)held;
}

static inline void hak_policy_cache_born(void) {}
static inline void hak_policy_cache_dies(void) {}
static inline void hak_policy_cache_age(bool sparse) {
    (void)sparse;
}
static inline void hak_policy_cache_forsaken(void) {}
static inline void hak_policy_scarce(void) {}
static inline void hak_policy_limited(void) {}
static inline bool hak_policy_reclaim(size_t size) {
    return (void)size, false;
}
static inline void hak_policy_trim(void) {}
static inline void hak_policy_idle(uint64_t now) {
    (void)now;
}

#endif
