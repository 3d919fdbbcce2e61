/* ledger.h: the records of all slots and large objects, which lie out of line.
 *
 *   region    | slab (class 9)      | slab (class 9) | slab of two granules (class 31) | ...
 *   table     | run, class, size .. | run, ..        | run, ..       | same run, ..    |    32 bytes per granule
 *   records     |    \__________________________________
 *               +--> 0 | r r r r r r ...  4 bytes per slot | 0 | r r r ..                     one run per slab
 *
 * A run is made when a slab is first born, and stays for good, because a slab never changes its class here. So the
 * table has all that a lookup needs in half a cache line (docs/decisions/009). The memory of a run is unmapped and
 * mapped with that of its slab (runs.h). One unused record lies before each run, so that a look at the slot before
 * needs no special case for the first slot. The table and the runs of a region are separate extents, far from
 * everything else. Large objects have a record of 16 bytes per granule; only that of the first granule counts.
 *
 *   bits   1..0    3..2     9..4         10      31..14
 *   live   1       family   log2(align)  typed   requested bytes; bit 11: bare, see canary.h
 *   freed  2       owner: bits 13..2     requested bytes, of the last owner
 *   held   3       as freed              being freed, or resized: nothing is known of its bytes
 *
 * A record belongs to the owner of its slot: the program while the slot is live, then the thread that freed it, until
 * the slot leaves that thread's quarantine. `owner` is that thread's number. When two threads free the same object at
 * once, both see it live, but only one number stays; the other thread finds that out later.
 *
 * Sweeps of other threads read the record and then the bytes. So a thread that sees stores in their order always finds:
 *   live    the canary and what follows it are correct
 *   freed   all bytes are zero, except the canary that another thread writes while it makes the slot live
 *   unused  the same
 * A record is stored by release after the bytes. A record is set to held before the bytes change, with a fence behind
 * it. Sweeps acquire (look.h). */
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
#if defined(__aarch64__)
    HAK_RECORD_OWNERS = 1 << 9, /* the three bits above have half of the last owner's memory tag: mte.h */
#else
    HAK_RECORD_OWNERS = 1 << 12, /* 0: nobody */
#endif
    HAK_RECORD_SIZE_SHIFT = 14,
    HAK_RECORD_ALIGN_MASK = 63, /* any of 64 bits, so that no two alignments look alike */
    /* Set for live objects of a partition of the typed heap. No claim has this bit, so their frees leave the fast
     * path. */
    HAK_RECORD_TYPED = 1 << 10,
    HAK_RECORD_BARE = 1 << 11,  /* for live objects: zeros stand in the place of the canary (canary.h) */
    HAK_RECORD_CLAIMED = 0x7ff, /* state, family, alignment, typed */

    HAK_CANARY_BYTES = 8,
    HAK_RECIPROCAL_SHIFT = 24, /* from 2^40 / size to 2^64 / size */
};

/* What is known about a large object. */
typedef struct hak_large_record {
    uint64_t size; /* bytes asked for */
    uint32_t word; /* as a slot's record, without the size */
    uint8_t shut;  /* OS pages at the end of this granule that are guarded */
    uint8_t unused;
    uint16_t slack; /* OS pages between the object's last one and its guard: guard.h */
} hak_large_record;
_Static_assert(sizeof(hak_large_record) == 16, "16 bytes per granule");

typedef enum hak_lost {
    HAK_LOST_NOT,
    HAK_LOST_IDLE, /* records may be zero at any moment: the slab is free, and its pages were purged */
    HAK_LOST_ONCE, /* records may have been zero before the slab was taken again: see hak_ledger_word */
} hak_lost;

/* Describes a granule of a region of slabs; all zero when no slab ever lay there. */
typedef struct hak_granule {
    _Atomic(hak_record *) run; /* of the slab's first slot; written last */
    union {
        uint64_t reciprocal;    /* 2^64 / size, made from the class's reciprocal: see hak_granule_place */
        hak_record *hollow_run; /* when hollowed: the former run, from the record before its first slot on */
    };
    uint32_t size; /* bytes of a slot */
    uint32_t mask; /* bytes of the slab less one: masks an address to its place in the slab */
    uint32_t cls;
    uint16_t partition; /* of the typed heap; 0: none */
    uint8_t hollowed;   /* its memory was unmapped, with its guards and records, while no slab was there */
    uint8_t lost;       /* hak_lost: the fate of its records after its pages were purged */
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
    size_t runs_used;           /* bytes of `runs` that slabs use */
    size_t runs_idle;           /* approximate number of their pages that may be purged: runs.c */
    /* Bytes from base on that have an entry in the table. It grows; an old value leads to the slow path. */
    _Atomic size_t reach;
    size_t inherited; /* bytes from base on that were in use when this process was forked: inherit.h */
} hak_ledger_region;

/* Indexed by the region's index. */
extern HAK_HIDDEN hak_ledger_region *hak_ledger;
/* A copy of the entry of the first region of slabs, which lookups ask first. */
extern HAK_HIDDEN hak_ledger_region hak_ledger_first;

bool hak_ledger_region_born(hak_region *region, size_t size);
bool hak_ledger_region_commit(hak_region *region, size_t end);
void hak_ledger_region_dies(hak_region *region);
void hak_ledger_reset(bool stay); /* debug builds: see hak_policy_reset */

/* Counts bytes that were mapped for the ledger, or, negated, that were unmapped. */
void hak_ledger_count(size_t bytes);

/* Gives the slab its run; *is_new: the slab has no guards yet. False: no memory. */
bool hak_ledger_slab_born(hak_slab *slab, bool *is_new);

/* Notes that the free slab's pages were purged while its addresses stay. The superslab lock is held. */
void hak_ledger_slab_purged(const hak_slab *slab);

/* Interprets `word`, the record of the slot at `addr`: an unused slot counts as freed if its record may have been
 * purged with the slab's pages. */
uint32_t hak_ledger_word(uintptr_t addr, uint32_t word);

/* Notes that the granules in `mask` of the superslab were unmapped, with no slab in them. The superslab lock is
 * held. */
void hak_ledger_hollowed(uintptr_t superslab, uint32_t mask);

/* Where the record of a slot lies. */
typedef struct hak_place {
    hak_record *record;
    uint32_t size; /* bytes of the slot */
    uint32_t slot; /* its index in the slab */
} hak_place;

/* Returns the tables of the region that contains `addr`; NULL: none does. */
const hak_ledger_region *hak_ledger_of(uintptr_t addr);

/* Returns the entry of the granule that contains `addr`, if the first region of slabs has it; else NULL. */
HAK_INLINE const hak_granule *hak_granule_near(uintptr_t addr) {
    const hak_ledger_region *first = &hak_ledger_first;
    uintptr_t offset = addr - first->base;
    /* acquire: pairs with the release in hak_ledger_region_commit, which comes after the table is mapped */
    if (HAK_UNLIKELY(offset >= atomic_load_explicit(&first->reach, memory_order_acquire)))
        return NULL;
    const hak_granule *granule = &first->granules[offset >> HAK_GRANULE_SHIFT];
    if (granule == NULL)
        __builtin_unreachable(); /* spares callers a second test */
    return granule;
}

/* The same for all regions; NULL: the granule belongs to no slab. */
const hak_granule *hak_granule_find(uintptr_t addr);

/* Finds the place of the slot that begins at `obj`, in the granule. False: no slot begins there, or the granule
 * belongs to no slab.
 *
 * One product gives both results. Its upper half is the slot (hak_slot_index). Its lower half is below the
 * reciprocal c exactly when obj is a multiple of the size d (Lemire, Kaser, Kurz 2019): with n = q d + r bytes, and
 * c d = 2^40 + e, e < d <= 2^18, the lower half is r c + q e, and q e <= n < 2^21 < c. */
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

/* Finds the place of the slot at `obj`. False: no slot begins there. */
HAK_INLINE bool hak_ledger_find(const void *obj, hak_place *out) {
    const hak_granule *granule = hak_granule_find((uintptr_t)obj);
    return granule != NULL && hak_granule_place(granule, obj, out);
}

/* True when a slot began there and its slab is hollow now. */
bool hak_ledger_was_slot(uintptr_t addr);

/* Returns the record of the large object whose first granule holds `addr`; NULL: not in a region of large objects. */
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
/* Stores the record after the bytes that it describes. Pairs with the acquire in look.c. */
HAK_INLINE void hak_record_store(hak_record *record, uint32_t word) {
    atomic_store_explicit(record, word, memory_order_release);
}
/* Holds the slot: from now on sweeps do not check it, and its bytes may change. */
HAK_INLINE void hak_record_hold(hak_record *record, uint32_t word) {
    atomic_store_explicit(record, word | HAK_SLOT_HELD, memory_order_relaxed);
    atomic_thread_fence(memory_order_release); /* before the bytes; pairs with the fence in look.c */
}
/* The same for a live slot that stays live; its record was `word`. Only its owner may call this. False: the slot is
 * no longer live. */
HAK_INLINE bool hak_record_hold_live(hak_record *record, uint32_t word) {
    if (!atomic_compare_exchange_strong_explicit(record, &word, HAK_SLOT_HELD, memory_order_relaxed,
                                                 memory_order_relaxed))
        return false;
    atomic_thread_fence(memory_order_release); /* as in hak_record_hold */
    return true;
}
/* Ends hak_record_hold_live; stores as hak_record_store does. False: another thread has freed the slot meanwhile. */
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
#if defined(__aarch64__)
    if (hak_record_state(word) == HAK_SLOT_FREED)
        owner |= word >> HAK_RECORD_OWNER_SHIFT & (7 << 9);
#endif
    return HAK_SLOT_FREED | owner << HAK_RECORD_OWNER_SHIFT |
           (word >> HAK_RECORD_SIZE_SHIFT) << HAK_RECORD_SIZE_SHIFT;
}

/* These three compare a claim with the low bits of a record; the mask says which bits count. free and realloc end
 * objects of every alignment. A caller that states a size or comes from C++, and states no alignment, means the
 * usual one. */
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
