/* policy_hardened.h: the hooks of the hardened variant. Only policy.h includes this file.
 *
 *   malloc   pop -> [sampled?] -> record says freed      --> still zero -> canary -> record: live
 *   free     record fits the claim -> canary -> slot before --> record: freed -> slack zero -> zero -> quarantine
 *
 * Everything on these two paths is deterministic. The parts after the long arrows are chosen at start, by the
 * processor's vectors and by what is reduced (wipe.c); the parts before them are inline. Anything that does not
 * pass leaves for verify.c, which finds out what is wrong. */
#ifndef HAK_POLICY_HARDENED_H
#define HAK_POLICY_HARDENED_H

#include "allocator/policy.h"
#include "hardening/canary.h"
#include "hardening/common.h"
#include "hardening/due.h"
#include "hardening/guard.h"
#include "hardening/keep.h"
#include "hardening/ledger.h"
#include "hardening/mte.h"
#include "hardening/mte_calls.h"
#include "hardening/quarantine.h"
#include "hardening/sample.h"
#include "hardening/stain.h"
#include "hardening/sweep.h"
#include "hardening/typed.h"
#include "hardening/typed_free.h"
#include "hardening/verify.h"
#include "hardening/verify_large.h"
#include "hardening/wipe.h"

#include <string.h>

#define HAK_POLICY_NAME "hardened"
enum {
    HAK_POLICY_CLASS_BOUND =
        1, /* free slabs stay with their class, so no address ever has two kinds of owners */
    HAK_POLICY_USABLE_IS_ASKED = 1, /* the program may use exactly the requested bytes */
    HAK_POLICY_MOVES_PAGES = 0,     /* pages are not moved out of guarded spans */
    /* realloc keeps an object in its slot while it fills a quarter of it. A move costs more here: it zeroes the
     * old slot, reads the new one and quarantines the old one. Workload e is 11 % faster than with a half. */
    HAK_POLICY_FILL_PART = 4,
    HAK_POLICY_RANDOM_SLOTS = 1,
    HAK_POLICY_EXTRA = HAK_CANARY_BYTES,
    HAK_POLICY_DOUBTS_ZERO = 1,   /* free large memory may have been written to */
    HAK_POLICY_NOTHING_APART = 1, /* objects of no bytes have no accessible byte */
    HAK_POLICY_ASKS_CALLER = 1,
    HAK_POLICY_SHARERS = 1,      /* no sharing: the records of slots of any size lie close together */
    HAK_POLICY_SLAB_SLOTS = 256, /* slots to choose from, for slots up to HAK_POLICY_SLAB_SLOTS_SIZE */
    HAK_POLICY_SLAB_SLOTS_SIZE = 4608,
    HAK_POLICY_PARTITIONS = HAK_PARTITIONS_MAX, /* most partitions of the typed heap */
};

bool hak_harden_init(void (*give)(void *obj, unsigned cls));
void hak_harden_seal(void);
void hak_harden_fork_child(void);
unsigned hak_harden_tag_slow(const void *obj);

/* Parts of the two paths that are not inline; see hardened.c. */
void *hak_harden_alloc_rare(void *obj, unsigned cls, size_t size, hak_origin origin, uintptr_t caller);
void *hak_harden_alloc_slow(void *obj, size_t size, hak_origin origin, uintptr_t caller);
size_t hak_harden_region_align(hak_region_kind kind);
hak_region_kind hak_harden_large_kind(size_t align, unsigned partition);
bool hak_harden_reclaim(size_t size);
void hak_harden_trim(void);
void hak_harden_limited(void);
void hak_harden_age(void);
void hak_harden_age_sparse(void);
void hak_harden_idle(uint64_t now);
void hak_harden_reset(bool stay);
void hak_harden_held(hak_held *held);
void hak_harden_held_large(hak_held_large *held);

static inline bool hak_policy_init(void (*give)(void *obj, unsigned cls)) {
    return hak_harden_init(give);
}
static inline void hak_policy_seal(void) {
    hak_harden_seal();
}
static inline void hak_policy_fork_child(void) {
    hak_harden_fork_child();
}
static inline void hak_policy_reset(bool stay) {
    hak_harden_reset(stay);
}
static inline hak_lock *hak_policy_lock(unsigned i) {
    return i == 0 ? &hak_hardening_lock : hak_common_lock(i - 1);
}
static inline size_t hak_policy_slab_guard(void) {
    return hak_guard_slab_bytes();
}
static inline size_t hak_policy_region_align(hak_region_kind kind) {
    return hak_harden_region_align(kind);
}
static inline hak_region_kind hak_policy_large_kind(size_t align, unsigned partition) {
    return hak_harden_large_kind(align, partition);
}
static inline void hak_policy_mapped(hak_region_kind kind, uintptr_t addr, size_t size) {
    if (kind == HAK_REGION_SLABS)
        hak_mte_mapped(addr, size);
}
static inline bool hak_policy_region_born(hak_region *region, size_t size) {
    return hak_ledger_region_born(region, size);
}
static inline bool hak_policy_region_commit(hak_region *region, size_t end) {
    return hak_ledger_region_commit(region, end);
}
static inline void hak_policy_region_dies(hak_region *region) {
    hak_ledger_region_dies(region);
}
static inline bool hak_policy_slab_born(hak_slab *slab) {
    bool is_new;
    if (!hak_ledger_slab_born(slab, &is_new))
        return false;
    if (is_new)
        hak_guard_slab(slab);
    return true;
}
static inline bool hak_policy_slab_open(hak_slab *slab) {
    return hak_guard_slab_open(slab);
}
static inline void hak_policy_slab_dies(hak_slab *slab) {
    if (HAK_UNLIKELY(slab->slots > hak_classes[slab->cls].slots))
        hak_guard_slab(slab);
}
static inline void hak_policy_slab_purged(const hak_slab *slab) {
    hak_ledger_slab_purged(slab);
}
static inline void hak_policy_hollowed(uintptr_t superslab, uint32_t mask) {
    hak_ledger_hollowed(superslab, mask);
}
static inline bool hak_policy_may_hollow(void) {
    return !hak_sweep_running();
}

/* The ledger's table has the class of all slabs when the first region of slabs has them all. */
HAK_INLINE unsigned hak_policy_tag(const void *obj) {
    obj = hak_mte_plain(obj);
    const hak_granule *granule = hak_granule_near((uintptr_t)obj);
    return HAK_LIKELY(granule != NULL) ? granule->cls : hak_harden_tag_slow(obj);
}

static inline unsigned hak_policy_partition(size_t token) {
    return hak_typed_partition(token);
}
static inline unsigned hak_policy_partition_of_site(uintptr_t caller) {
    return hak_typed_partition_of_site(caller);
}
static inline unsigned hak_policy_partition_of(const void *obj) {
    return hak_typed_partition_of(hak_mte_plain(obj));
}
static inline unsigned hak_policy_partition_of_slot(const void *obj, unsigned *cls) {
    return hak_typed_partition_of_slot(obj, cls);
}

/* Adds room for the canary. A large object has a canary only where its last page has room. */
static inline size_t hak_policy_request(size_t size) {
    if (HAK_LIKELY(size <= HAK_SLAB_SIZE_MAX))
        return size + HAK_POLICY_EXTRA;
    return size;
}

static inline size_t hak_policy_usable(const void *obj, unsigned tag, size_t capacity) {
    obj = hak_mte_plain(obj);
    const hak_granule *granule = hak_granule_near((uintptr_t)obj);
    hak_place place;
    if (HAK_LIKELY(granule != NULL && hak_granule_place(granule, obj, &place)))
        return hak_record_size(hak_record_load(place.record));
    return hak_verify_usable(obj, tag, capacity);
}

/* No call stands in the middle of the two fast paths: whatever is not the usual leaves for a function that does it
 * all, so that nothing has to be saved; and each ends in a jump to what is chosen at start. */
HAK_INLINE void *hak_policy_on_alloc(void *obj, unsigned cls, size_t size, hak_origin origin,
                                     uintptr_t caller) {
    if (HAK_UNLIKELY(hak_site_passed(hak_guarded_mine, caller) == 0 || size == 0))
        return hak_harden_alloc_rare(obj, cls, size, origin, caller);
    const hak_granule *granule = hak_granule_near((uintptr_t)obj);
    hak_place place;
    if (HAK_UNLIKELY(granule == NULL))
        return hak_harden_alloc_slow(obj, size, origin, caller);
    hak_granule_slot(granule, obj, &place);
    if (HAK_UNLIKELY(hak_record_state(hak_record_load(place.record)) != HAK_SLOT_FREED))
        return hak_harden_alloc_slow(obj, size, origin, caller);
    uint32_t live = hak_record_live(origin) | (uint32_t)size << HAK_RECORD_SIZE_SHIFT;
    return hak_hardening.reuse(obj, size, place.record, live, place.size);
}

/* The memory is zero already, unless zeroing is off or the program has written to it. The check does not touch
 * untouched pages. */
static inline void *hak_policy_clear(void *obj, size_t size) {
    return hak_stain_find(obj, size) == NULL ? obj : memset(obj, 0, size);
}

/* Slots come from random places and out of a long quarantine: no cache has them, and no prefetcher of the processor
 * foresees them. Two lines, on their way while the program works on the object before; of a longer slot the rest
 * follows in order. */
HAK_INLINE void hak_policy_on_next(const void *next) {
    __builtin_prefetch(next, 1);
    __builtin_prefetch((const void *)((uintptr_t)next + HAK_CACHELINE), 1);
}

/* Holds the slot, so that sweeps skip it while its end moves. If another thread frees the object meanwhile, one
 * of the two exchanges fails. */
static inline void hak_policy_on_resize(void *obj, unsigned cls, size_t size) {
    hak_place place;
    if (!hak_ledger_find(hak_mte_plain(obj), &place))
        return;
    uint32_t word = hak_record_load(place.record), old = hak_record_size(word);
    if (hak_record_state(word) != HAK_SLOT_LIVE || !hak_record_hold_live(place.record, word)) {
        hak_mte_verify_live(obj, cls, "realloc", HAK_CALLER);
        return;
    }
    if (hak_hardening.canary) {
        size_t from = hak_min(size, old); /* the old canary, and bytes that no longer belong to the program */
        memset((char *)obj + from, 0, old + HAK_CANARY_BYTES - from);
        hak_canary_set(obj, size);
    }
    hak_origin origin = {(hak_family)(word >> HAK_RECORD_FAMILY_SHIFT & 3), HAK_ALIGN_LOG2, 0,
                         0}; /* as realloc makes them */
    hak_quarantine_turned(hak_guarded_mine, cls);
    uint32_t live = hak_record_live(origin) | (word & HAK_RECORD_TYPED);
    if (!hak_record_live_again(place.record, live | (uint32_t)size << HAK_RECORD_SIZE_SHIFT))
        hak_mte_verify_live(obj, cls, "realloc", HAK_CALLER);
}

/* The slot before is live and its canary is not what it was; no more than a hint while its owner is at work. Before the
 * first slot's record lies one that is unused. */
HAK_PEEK_INLINE bool hak_neighbour_wrong(hak_place place, const void *obj) {
    uint32_t word = hak_record_load(place.record - 1);
    if (hak_record_state(word) != HAK_SLOT_LIVE)
        return false;
    uint64_t before = hak_mte_pause();
    bool wrong = !hak_canary_intact((const char *)obj - place.size, hak_record_size(word));
    hak_mte_resume(before);
    return wrong;
}

/* The object's own canary, and that of the slot before: one question where none is reduced, as there are no neighbours
 * without canaries. */
HAK_INLINE bool hak_ends_wrong(hak_place place, const void *obj, size_t size) {
    if (HAK_LIKELY(hak_hardening.neighbours)) {
        if (HAK_UNLIKELY(!hak_canary_intact(obj, size)))
            return true;
        __asm__("" ::: "memory"); /* loads the keys again, which costs less than saving registers for them */
        return hak_neighbour_wrong(place, obj);
    }
    return hak_hardening.canary && !hak_canary_intact(obj, size);
}

/* Frees a slot. Returns the object to recycle; NULL: none. `said`: the program's pointer, with its memory tag. */
HAK_INLINE hak_leaving hak_free_slot(void *said, hak_claim claim) {
    void *obj = hak_mte_plain(said);
    const hak_granule *granule = hak_granule_near((uintptr_t)obj);
    hak_place place;
    unsigned tag = HAK_LIKELY(granule != NULL) ? granule->cls : hak_harden_tag_slow(obj);
    if (HAK_UNLIKELY(granule == NULL || !hak_granule_place(granule, obj, &place)))
        return hak_mte_free(said, tag, claim, HAK_CALLER);
    uint32_t word = hak_record_load(place.record);
    size_t size = hak_record_size(word);
    if (HAK_UNLIKELY(!hak_claim_fits(claim, word) || (claim.size != HAK_CLAIM_NO_SIZE && claim.size != size)))
        return hak_mte_free(said, tag, claim, HAK_CALLER);
    if (hak_mte_stale(said) || HAK_UNLIKELY(hak_ends_wrong(place, said, size)))
        return hak_mte_free(said, tag, claim, HAK_CALLER);
    return (hak_leaving){hak_hardening.end(obj, granule, place.record, word, claim.call), tag};
}

HAK_INLINE bool hak_policy_on_free(void **obj, unsigned *tag, hak_claim claim) {
    hak_leaving leaving = hak_free_slot(*obj, claim);
    *obj = leaving.obj;
    *tag = leaving.tag;
    return leaving.obj != NULL;
}

static inline bool hak_policy_on_first_free(void **obj, unsigned cls) {
    *obj = cls == HAK_TAG_TYPED ? hak_typed_first(*obj) : hak_quarantine_first(*obj, cls);
    return *obj != NULL;
}

/* Checks the common case inline; verify.c checks the rest. */
static inline void hak_policy_check_live(const void *obj, unsigned tag, const char *call, uintptr_t caller) {
    const void *plain = hak_mte_plain(obj);
    const hak_granule *granule = hak_granule_near((uintptr_t)plain);
    hak_place place;
    if (HAK_LIKELY(granule != NULL && hak_granule_place(granule, plain, &place))) {
        uint32_t word = hak_record_load(place.record) & ~(uint32_t)HAK_RECORD_TYPED;
        if (HAK_LIKELY(hak_claim_fits(HAK_CLAIM(call, HAK_FAMILY_MALLOC), word) && !hak_mte_stale(obj) &&
                       (!hak_hardening.canary || hak_canary_intact(obj, hak_record_size(word)))))
            return;
    }
    hak_mte_verify_live(obj, tag, call, caller);
}
/* True for a sampled object, which has no tag. */
static inline bool hak_policy_owns(const void *obj) {
    return hak_sample_find(obj) != NULL;
}

static inline uint32_t hak_policy_slot_choice(uint32_t count) {
    return hak_hardening.random ? hak_random_slot(count) : 0;
}
static inline unsigned hak_policy_granule_choice(void) {
    return hak_hardening.random ? (unsigned)(hak_random_next() >> 59) : 0;
}
/* The objects of each slab were drawn at random. Objects of several slabs are also mixed, because a slab's last
 * free slots may all be neighbours. */
static inline void hak_policy_on_refill(void **objs, unsigned count) {
    bool one_slab = ((uintptr_t)objs[0] ^ (uintptr_t)objs[count - 1]) >> HAK_GRANULE_SHIFT == 0;
    for (unsigned left = one_slab ? 0 : count; left > 1; left--) {
        unsigned drawn = hak_policy_slot_choice(left);
        void *obj = objs[drawn];
        objs[drawn] = objs[left - 1];
        objs[left - 1] = obj;
    }
    hak_sweep_step(hak_guarded_mine);
}

static inline size_t hak_policy_large_gap(size_t size) {
    (void)size;
    if (!hak_hardening.guard)
        return 0;
    if (hak_guard_is_scarce())
        return hak_os_page;
    return (1 + (hak_hardening.random ? hak_random_next() % HAK_GUARD_GAP_MOST : 0)) << HAK_GRANULE_SHIFT;
}
static inline void hak_policy_large_hollowed(hak_region *region, uintptr_t start, size_t size) {
    hak_guard_hollowed(region, start, size);
}
static inline size_t hak_policy_large_end(const void *obj, size_t capacity) {
    return hak_verify_large_end(obj, capacity);
}
static inline void hak_policy_large_settle(bool begins) {
    atomic_store(&hak_verify_large_settles, begins);
}
static inline bool hak_policy_on_large_alloc(void *obj, size_t size, size_t capacity, hak_origin origin) {
    return hak_verify_large_alloc(obj, size, capacity, origin);
}
static inline bool hak_policy_large_hold(void *obj) {
    return hak_verify_large_hold(obj);
}
static inline void hak_policy_large_unhold(void *obj) {
    hak_verify_large_unhold(obj);
}
static inline bool hak_policy_on_large_resize(void *obj, size_t size, size_t capacity) {
    return hak_verify_large_resize(obj, size, capacity);
}
static inline bool hak_policy_unmaps(size_t bytes) {
    return hak_guard_unmaps(bytes);
}
/* True, so that a stale pointer into the tail meets no new owner: the tail rests with the object, without
 * memory (hak_verify_large_resize). Where address space is scarce it goes at once. */
static inline bool hak_policy_tail_stays(void) {
    return hak_hardening.quarantine && !hak_guard_is_scarce();
}
static inline bool hak_policy_on_large_free(void *obj) {
    return hak_verify_large_free(obj);
}

static inline void hak_policy_held(hak_held *held) {
    hak_harden_held(held);
}
static inline void hak_policy_held_large(hak_held_large *held) {
    hak_harden_held_large(held);
}

static inline void hak_policy_cache_born(void) {
    hak_quarantine_begin(false);
}
static inline void hak_policy_cache_dies(void) {
    hak_typed_thread_ends();
    hak_quarantine_end();
}
static inline void hak_policy_cache_age(bool sparse) {
    hak_quarantine_age(sparse);
    hak_typed_swapped(sparse ? hak_harden_age_sparse : hak_harden_age);
}
static inline void hak_policy_cache_forsaken(void) {
    hak_quarantine_forsake();
}
static inline void hak_policy_scarce(void) {
    hak_guard_scarce();
}
static inline void hak_policy_limited(void) {
    hak_harden_limited();
}
static inline bool hak_policy_reclaim(size_t size) {
    return hak_harden_reclaim(size);
}
static inline void hak_policy_trim(void) {
    hak_harden_trim();
}
static inline void hak_policy_idle(uint64_t now) {
    hak_harden_idle(now);
}

#endif
