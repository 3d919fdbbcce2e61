/* ledger.h: the records of all slots and large objects, which lie out of line.
 *
 *   region    | slab (class 9)      | slab (class 9) | slab of two granules (class 31) | ...
 *   table     | run, class, size .. | run, ..        | run, ..       | same run, ..    |    32 bytes per granule
 *   records     |    \__________________________________
 *               +--> 0 | r r r r r r ...  4 bytes per slot | 0 | r r r ..                     one run per slab
 *
 * A run is made when a slab is first born and stays for good, because a slab never changes its class here; so the table
 * has all that a lookup needs in half a cache line (docs/decisions/009). Its memory goes and comes with that of the
 * slab (runs.h). Before each run lies a record that stays unused, so that the first slot needs no question of its own
 * when the slot before is looked at. The table and the runs of a region are extents of their own, far from everything
 * else. Large objects have a record of 16 bytes per granule; that of the first granule counts.
 *
 *   bits   1..0    3..2     9..4         10      31..14
 *   live   1       family   log2(align)  typed   requested bytes; bit 11: bare, see canary.h
 *   freed  2       owner: bits 13..2     requested bytes, of the last owner
 *   held   3       as freed              being freed, or resized: nothing is known of its bytes
 *
 * A record belongs to whoever owns the slot: the program while it is live, then the thread that freed it, until the
 * slot leaves that thread's quarantine. `owner` is that thread's number: two threads that free the same object at once
 * both see it live, but only one number stays, and the other thread finds that out later.
 *
 * Sweeps of other threads read the record and then the bytes, so at every moment, for who sees stores in their order:
 *   live    the canary and what follows it are as they should be
 *   freed   all bytes are zero, but for the canary of who is making the slot live just now
 *   unused  the same
 * A record is stored by release after the bytes, and held before they change with a fence behind it; sweeps acquire
 * (look.h). */
#ifndef HAK_LEDGER_H
#define HAK_LEDGER_H

#include "allocator/base/claim.h"
#include "allocator/os/os.h"
#include "allocator/pages/superslab.h"
#include "allocator/pages/tag.h"
#include "hardening/modes.h"

typedef _Atomic uint32_t hak_record;

typedef enum hak_slot_state {
    HAK_SLOT_UNUSED, /* never given out; reads as zero */
    HAK_SLOT_LIVE,
    HAK_SLOT_FREED, /* in a quarantine, a bin, or its slab */
    HAK_SLOT_HELD, /* on its way from live to freed or to another size; or taken out of circulation for good */
} hak_slot_state;

enum {
    HAK_RECORD_STATE = 3,
    HAK_RECORD_FAMILY_SHIFT = 2,
    HAK_RECORD_ALIGN_SHIFT = 4,
    HAK_RECORD_OWNER_SHIFT = 2,
    HAK_RECORD_OWNERS = 1 << 12, /* 0: nobody */
    HAK_RECORD_SIZE_SHIFT = 14,
    HAK_RECORD_ALIGN_MASK = 63, /* any of 64 bits, so that no two alignments look alike */
    /* Of live objects of a partition of the typed heap: no claim has it, so their frees leave the fast path. */
    HAK_RECORD_TYPED = 1 << 10,
    HAK_RECORD_BARE = 1 << 11,  /* of live objects: zeros stand in the canary's place (canary.h) */
    HAK_RECORD_CLAIMED = 0x7ff, /* state, family, alignment, typed */

    HAK_CANARY_BYTES = 8,
    HAK_RECIPROCAL_SHIFT = 24, /* from 2^40 / size to 2^64 / size */
};

/* What is known about a large object. */
typedef struct hak_large_record {
    uint64_t size; /* bytes asked for */
    uint32_t word; /* as a record, without the size */
    uint8_t shut;  /* OS pages at the end of this granule that are guarded */
    uint8_t unused;
    uint16_t slack; /* OS pages between the object's last one and its guard: guard.h */
} hak_large_record;
_Static_assert(sizeof(hak_large_record) == 16, "16 bytes per granule");

typedef enum hak_lost {
    HAK_LOST_NOT,
    HAK_LOST_IDLE, /* they may be zero at any moment: the slab is free, and its pages went */
    HAK_LOST_ONCE, /* they may have been zero before the slab was taken again: see hak_ledger_word */
} hak_lost;

/* What lies in a granule of a region of slabs: zeros when no slab ever did. */
typedef struct hak_granule {
    _Atomic(hak_record *) run; /* of the slab's first slot; written last */
    union {
        uint64_t reciprocal;    /* 2^64 / size, from the class's: see hak_granule_place */
        hak_record *hollow_run; /* hollowed: what the run was, less the record before the first */
    };
    uint32_t size; /* bytes of a slot */
    uint32_t mask; /* of the byte in the slab: its bytes less one */
    uint32_t cls;
    uint16_t partition; /* of the typed heap; 0: none */
    uint8_t hollowed;   /* its memory, guards and records included, went while no slab was there */
    uint8_t lost;       /* hak_lost: what became of its records when its pages went */
} hak_granule;
_Static_assert(sizeof(hak_granule) == 32, "half a cache line");

/* The tables of one region; base and size are copies, so that a lookup has one cache line to read. */
typedef struct hak_ledger_region {
    uintptr_t base;
    size_t size; /* bytes; 0: not in use */
    union {
        hak_granule *granules;   /* HAK_REGION_SLABS */
        hak_large_record *large; /* HAK_REGION_LARGE: per granule */
    };
    hak_extent table;
    hak_extent runs, run_pages; /* HAK_REGION_SLABS: runs.h */
    hak_extent marks;           /* others: marks.h */
    size_t runs_used;           /* bytes of `runs` that slabs have */
    size_t runs_idle;           /* about how many pages of them could go: runs.c */
    _Atomic size_t
        reach; /* bytes from base on that have an entry in the table; grows: an old value sends the long way */
    size_t inherited; /* bytes from base on that were in use when this process was forked: inherit.h */
} hak_ledger_region;

/* By the region's index. */
extern HAK_HIDDEN hak_ledger_region *hak_ledger;
/* A copy of that of the first region of slabs: the one that is asked first. */
extern HAK_HIDDEN hak_ledger_region hak_ledger_first;

bool hak_ledger_region_born(hak_region *region, size_t size);
bool hak_ledger_region_commit(hak_region *region, size_t end);
void hak_ledger_region_dies(hak_region *region);
void hak_ledger_reset(bool stay); /* debug builds: see hak_policy_reset */

/* Bytes that were mapped for the ledger, or went. */
void hak_ledger_count(size_t bytes);

/* Gives the slab its run; *is_new: it has no guards yet. False when there is no memory. */
bool hak_ledger_slab_born(hak_slab *slab, bool *is_new);

/* The free slab's pages went; its addresses stay. The superslab lock is held. */
void hak_ledger_slab_purged(const hak_slab *slab);

/* What is to be made of `word`, the record of the slot at `addr`: what is unused there was perhaps freed, if records
 * went with the slab's pages. */
uint32_t hak_ledger_word(uintptr_t addr, uint32_t word);

/* The granules of `mask` of the superslab have lost their memory, and no slab is there; the superslab lock is held. */
void hak_ledger_hollowed(uintptr_t superslab, uint32_t mask);

/* Where a slot is written down. */
typedef struct hak_place {
    hak_record *record;
    uint32_t size; /* bytes of the slot */
    uint32_t slot; /* its index in the slab */
} hak_place;

/* The tables of the region that contains `addr`; NULL: none does. */
const hak_ledger_region *hak_ledger_of(uintptr_t addr);

/* The entry of the granule that contains `addr`, if the region of slabs that is asked first has it; else NULL. */
HAK_INLINE const hak_granule *hak_granule_near(uintptr_t addr) {
    const hak_ledger_region *first = &hak_ledger_first;
    uintptr_t offset = addr - first->base;
    /* acquire: pairs with the release in hak_ledger_region_commit; the table was there before */
    if (HAK_UNLIKELY(offset >= atomic_load_explicit(&first->reach, memory_order_acquire)))
        return NULL;
    const hak_granule *granule = &first->granules[offset >> HAK_GRANULE_SHIFT];
    if (granule == NULL)
        __builtin_unreachable(); /* spares callers a second test */
    return granule;
}

/* The same for all regions; NULL: the granule is in no slab. */
const hak_granule *hak_granule_find(uintptr_t addr);

/* The place of the slot that begins at `obj`, in the granule; false when none begins there, or no slab has the granule.
 *
 * One product tells both: its upper half is the slot (hak_slot_index), and its lower half is below the reciprocal c
 * exactly where obj is a multiple of the size d (Lemire, Kaser, Kurz 2019): with n = q d + r bytes, and c d = 2^40 + e,
 * e < d <= 2^18, it is r c + q e, and q e <= n < 2^21 < c. */
HAK_INLINE bool hak_granule_place(const hak_granule *granule, const void *obj, hak_place *out) {
    hak_record *run = atomic_load_explicit(&granule->run, memory_order_relaxed);
    if (HAK_UNLIKELY(run == NULL))
        return false;
    uint32_t in_slab = (uint32_t)(uintptr_t)obj & granule->mask; /* slabs are aligned to their size */
    unsigned __int128 product = (unsigned __int128)granule->reciprocal * in_slab;
    out->slot = (uint32_t)(product >> 64);
    out->record = run + out->slot;
    out->size = granule->size;
    return (uint64_t)product < granule->reciprocal;
}

/* The same for an address that is known to be the start of a slot, such as an entry of a bin. */
HAK_INLINE void hak_granule_slot(const hak_granule *granule, const void *obj, hak_place *out) {
    uint32_t in_slab = (uint32_t)(uintptr_t)obj & granule->mask;
    out->slot = (uint32_t)((unsigned __int128)granule->reciprocal * in_slab >> 64);
    out->record = atomic_load_explicit(&granule->run, memory_order_relaxed) + out->slot;
    out->size = granule->size;
}

/* The place of the slot at `obj`. False: no slot begins there. */
HAK_INLINE bool hak_ledger_find(const void *obj, hak_place *out) {
    const hak_granule *granule = hak_granule_find((uintptr_t)obj);
    return granule != NULL && hak_granule_place(granule, obj, out);
}

/* True when a slot began there whose slab is hollow now. */
bool hak_ledger_was_slot(uintptr_t addr);

/* The record of the large object whose first granule holds `addr`; NULL: not in a region of large objects. */
hak_large_record *hak_ledger_large(uintptr_t addr);
/* True when a large object may begin at `addr`. */
bool hak_ledger_large_begins(uintptr_t addr);
/* Bytes to the end of the object's last page; an object of 0 bytes has a page, too. */
HAK_INLINE size_t hak_ledger_large_pages(const hak_large_record *record) {
    return hak_align_up(hak_max(record->size, 1), hak_os_page);
}

HAK_INLINE uint32_t hak_record_load(const hak_record *record) {
    return atomic_load_explicit(record, memory_order_relaxed);
}
/* Stores the record, after the bytes are what it says. Pairs with the acquire in look.c. */
HAK_INLINE void hak_record_store(hak_record *record, uint32_t word) {
    atomic_store_explicit(record, word, memory_order_release);
}
/* Holds the slot: sweeps do not check it from now on, and its bytes may change. */
HAK_INLINE void hak_record_hold(hak_record *record, uint32_t word) {
    atomic_store_explicit(record, word | HAK_SLOT_HELD, memory_order_relaxed);
    atomic_thread_fence(memory_order_release); /* before the bytes; pairs with the fence in look.c */
}
/* The same for a live slot that stays live, whose record was `word`. Only its owner may do that. False: it is
 * no longer live. */
HAK_INLINE bool hak_record_hold_live(hak_record *record, uint32_t word) {
    if (!atomic_compare_exchange_strong_explicit(record, &word, HAK_SLOT_HELD, memory_order_relaxed,
                                                 memory_order_relaxed))
        return false;
    atomic_thread_fence(memory_order_release); /* as in hak_record_hold */
    return true;
}
/* Ends hak_record_hold_live, as hak_record_store. False: another thread has freed the slot meanwhile. */
HAK_INLINE bool hak_record_live_again(hak_record *record, uint32_t word) {
    uint32_t held = HAK_SLOT_HELD;
    return atomic_compare_exchange_strong_explicit(record, &held, word, memory_order_release,
                                                   memory_order_relaxed);
}
/* Marks a held slot, whose bytes are zero, as freed. If two threads free it at once the second one changes
 * nothing. */
HAK_INLINE void hak_record_end(hak_record *record) {
    uint32_t word = atomic_load_explicit(record, memory_order_relaxed);
    hak_record_store(record, word & ~(uint32_t)(HAK_SLOT_HELD ^ HAK_SLOT_FREED));
}
HAK_INLINE hak_slot_state hak_record_state(uint32_t word) {
    return (hak_slot_state)(word & HAK_RECORD_STATE);
}
HAK_INLINE uint32_t hak_record_size(uint32_t word) {
    return word >> HAK_RECORD_SIZE_SHIFT;
}
HAK_INLINE uint32_t hak_record_live(hak_origin origin) {
    return HAK_SLOT_LIVE | (uint32_t)origin.family << HAK_RECORD_FAMILY_SHIFT |
           (uint32_t)origin.align_log2 << HAK_RECORD_ALIGN_SHIFT |
           (origin.partition != 0 ? HAK_RECORD_TYPED : 0) | (origin.untouched ? HAK_RECORD_BARE : 0);
}

/* The record of a slot that `owner` frees; `word` is its record before. */
HAK_INLINE uint32_t hak_record_freed(uint32_t owner, uint32_t word) {
    return HAK_SLOT_FREED | owner << HAK_RECORD_OWNER_SHIFT |
           (word >> HAK_RECORD_SIZE_SHIFT) << HAK_RECORD_SIZE_SHIFT;
}

/* What a record's low bits must be for the claim, and which of them count: free and realloc end objects of every
 * alignment; whoever says a size or comes from C++ and does not say an alignment means the usual one. */
HAK_INLINE uint32_t hak_claim_mask(hak_claim claim) {
    bool any_alignment = claim.align_log2 == HAK_CLAIM_ANY && claim.family == HAK_FAMILY_MALLOC &&
                         claim.size == HAK_CLAIM_NO_SIZE;
    return any_alignment || claim.align_log2 == HAK_CLAIM_LOOSE
               ? ((1u << HAK_RECORD_ALIGN_SHIFT) - 1) | HAK_RECORD_TYPED
               : HAK_RECORD_CLAIMED;
}
HAK_INLINE uint32_t hak_claim_align(hak_claim claim) {
    bool said = claim.align_log2 != HAK_CLAIM_ANY && claim.align_log2 > HAK_ALIGN_LOG2;
    return said ? (uint32_t)claim.align_log2 & HAK_RECORD_ALIGN_MASK : HAK_ALIGN_LOG2;
}
HAK_INLINE bool hak_claim_fits(hak_claim claim, uint32_t word) {
    hak_origin origin = {(hak_family)claim.family, hak_claim_align(claim), 0, 0};
    return ((word ^ hak_record_live(origin)) & hak_claim_mask(claim)) == 0;
}

#endif
