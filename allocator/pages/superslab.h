/* superslab.h: 2 MiB of address space, cut into slabs like a buddy system. Layer 2.
 *
 *   superslab   |granule 0|granule 1|   granules 2 and 3   | ... |granule 31|
 *                slab      slab      slab of 128 KiB         free
 *
 * A slab takes an aligned run of 1, 2, 4 .. 32 granules. The record of a superslab in the region's meta area
 * has its descriptor, those of its slabs, and the bitmaps of the slabs. Guarded by the superslab lock. But
 * while a slab has a class, the depot's lock guards its link, free_bits, free, first and state, which belong to
 * the depot. */
#ifndef HAK_SUPERSLAB_H
#define HAK_SUPERSLAB_H

#include "allocator/base/list.h"
#include "allocator/pages/region.h"

enum {
    HAK_BITMAP_WORDS = HAK_GRANULE / HAK_MIN_ALIGN / 64, /* per granule: one bit per smallest slot */
    HAK_FEW_WORDS = 8,        /* in the bitmap of a slab of few slots: at most 512 */
    HAK_SUPERSLAB_ORDERS = 6, /* runs of 1 to 32 granules */
};

/* unused -> partial <-> full; partial with all slots free -> unused. Only partial slabs are in a depot's list. */
typedef enum hak_slab_state {
    HAK_SLAB_UNUSED,
    HAK_SLAB_PARTIAL,
    HAK_SLAB_FULL,
} hak_slab_state;

typedef struct hak_slab {
    hak_link link;       /* in the depot's list of partial slabs, or among the free slabs of a class */
    uintptr_t start;     /* first byte of the first slot */
    uint64_t *free_bits; /* bit set: the slot is free and in the slab (not in a cache, not live) */
    uint32_t slots;      /* number of slots */
    uint32_t free;       /* number of ones in free_bits */
    uint32_t taken_at;   /* hak_slab_time when a slot was last taken */
    uint16_t first;      /* no word of free_bits before this one has a one */
    uint8_t cls;
    uint8_t shard; /* of its depot; constant from birth to death */
    uint8_t state; /* hak_slab_state */
    uint8_t granules;
    /* Slots that were free when pages of the slab were last purged; 0: not since a slot was taken. */
    uint16_t purged;
    /* Slots from this one on were never handed out since the slab's memory last read as zero. */
    uint16_t fresh;
    /* Where only a part of the slab is mapped: the first slot that has memory, and how many slots have memory,
     * in steps of hak_part_step. part_count 0: all slots have memory. */
    uint8_t part_from, part_count;
} hak_slab;

typedef struct __attribute__((aligned(4096))) hak_superslab {
    hak_link link;   /* in the list of its largest free run */
    uintptr_t start; /* 0: never used */
    /* Granules without a slab. Granules of a free slab that stays with its class are not among them. */
    uint32_t free_mask;
    uint32_t used_mask;  /* granules of slabs in use */
    uint32_t dirty_mask; /* granules that may have resident pages */
    /* Granules that are not mapped. In a slab in use, only granules without a slot. Sweeps read it without the
     * lock. */
    uint32_t hollow_mask;
    uint8_t order; /* its list; HAK_SUPERSLAB_ORDERS: none, because nothing is free */
    bool not_huge; /* the kernel was asked for small pages */
    hak_slab slabs[HAK_SUPERSLAB_GRANULES] __attribute__((aligned(HAK_CACHELINE)));
    /* Bitmaps, by the slab's first granule. Those of few slots are in the page of the descriptors. Where all
     * objects have 128 bytes or more there are no others, so 2 MiB of slabs need one page of records instead of
     * five. */
    uint64_t few_bits[HAK_SUPERSLAB_GRANULES][HAK_FEW_WORDS] __attribute__((aligned(HAK_CACHELINE)));
    uint64_t (*many_bits)[HAK_BITMAP_WORDS]; /* [HAK_SUPERSLAB_GRANULES]; NULL until a slab needs it */
} hak_superslab;

_Static_assert(sizeof(hak_superslab) == 4096, "descriptors and bitmaps of few slots fit in a page");

extern hak_lock hak_superslab_lock;

/* Number of shards for threads. Each later shard belongs to one partition of the typed heap. Set by
 * hak_depot_init. */
extern unsigned hak_shards;
enum { HAK_SHARDS_MAX = 32 };

/* The partition whose objects the shard's slabs have; 0: none. */
HAK_INLINE unsigned hak_shard_partition(unsigned shard) {
    return shard < hak_shards ? 0 : shard - hak_shards + 1;
}

/* The superslab of a slab; and a mask of the slab's granules in it. */
HAK_INLINE hak_superslab *hak_superslab_of(const hak_slab *slab) {
    return (hak_superslab *)hak_align_down((uintptr_t)slab, 4096);
}
HAK_INLINE uint32_t hak_slab_mask(const hak_slab *slab) {
    return hak_ones32((unsigned)(slab - hak_superslab_of(slab)->slabs), slab->granules);
}

/* Slots per step of a slab. A slab has fewer than 256 steps. */
HAK_INLINE uint32_t hak_part_step(const hak_class_info *info) {
    return info->slots / 256 + 1;
}

/* The slots that have memory, in a slab where not all have. */
typedef struct hak_slab_slots {
    uint32_t from, count;
} hak_slab_slots;
HAK_INLINE hak_slab_slots hak_slab_part_slots(const hak_slab *slab) {
    uint32_t step = hak_part_step(&hak_classes[slab->cls]);
    return (hak_slab_slots){slab->part_from * step, slab->part_count * step};
}

/* hak_slab_has: the slot has memory, so it may be in use. hak_slab_all: number of such slots.
 * hak_slab_is_empty: all of them are free. */
HAK_INLINE bool hak_slab_has(const hak_slab *slab, uint32_t slot) {
    if (HAK_LIKELY(slab->part_count == 0))
        return slot < slab->slots;
    hak_slab_slots part = hak_slab_part_slots(slab);
    return slot - part.from < part.count;
}
HAK_INLINE uint32_t hak_slab_all(const hak_slab *slab) {
    return HAK_LIKELY(slab->part_count == 0) ? slab->slots : hak_slab_part_slots(slab).count;
}
HAK_INLINE bool hak_slab_is_empty(const hak_slab *slab) {
    return slab->free == hak_slab_all(slab);
}

/* A mask of the slab's granules that have slots, or will have; the others need not be mapped. */
HAK_INLINE uint32_t hak_slab_memory(const hak_slab *slab) {
    const hak_class_info *info = &hak_classes[slab->cls];
    hak_slab_slots part = hak_slab_part_slots(slab);
    size_t from = (size_t)part.from * info->size;
    size_t count = slab->part_count != 0 ? part.count : info->slots;
    unsigned first = (unsigned)(from >> HAK_GRANULE_SHIFT);
    unsigned last = (unsigned)((from + count * info->size - 1) >> HAK_GRANULE_SHIFT);
    return hak_ones32((unsigned)(slab - hak_superslab_of(slab)->slabs) + first, last - first + 1);
}

/* For statistics. hak_superslabs_live: superslabs with at least one slab in use. hak_superslab_free_dirty and
 * hak_superslab_live_bytes: bytes of free granules, and of slabs in use, that may be resident. hak_slabs_fresh: number
 * of slabs that were taken where nothing was resident; long slabs count more than once. */
extern _Atomic size_t hak_slabs_fresh;
extern _Atomic size_t hak_superslabs_live, hak_superslab_free_dirty, hak_superslab_live_bytes;

void hak_superslab_init(void);

/* Takes a slab for `cls` and the shard, with its tags set. All its slots, or those that have memory, are free;
 * their contents are unknown. NULL: the OS refused. */
hak_slab *hak_superslab_take_slab(unsigned cls, unsigned shard);

/* Takes back a slab whose slots are all free. Clears its tags. */
void hak_superslab_give_slab(hak_slab *slab);

/* Maps and touches `count` superslabs ahead of need. False: the OS refused. */
bool hak_superslab_prewarm(unsigned count);

/* Purges free granules until at most `keep` bytes of them may be resident; more stay when the OS refuses. Returns the
 * bytes that were purged. */
size_t hak_superslab_purge(size_t keep);

/* True when the granule at `addr`, which is in a superslab, is hollow. The caller holds hak_superslab_lock. */
bool hak_superslab_hollow_at(uintptr_t addr);
/* Called before `bytes` more become resident. Purges a multiple of that from the free memory that the release
 * policy does not keep, so that resident memory follows live memory also when a program changes to other sizes. */
void hak_superslab_exchange(size_t bytes);

/* Under a limit: gives free memory back when there is more than the release policy allows. Then only half as much
 * stays, so that the next slabs that come and go cost no system call. */
void hak_superslab_release_most(void);

/* Purges memory that was free all the time since the last call, except what the release policy keeps. */
void hak_superslab_release_idle(void);

/* Unmaps free granules, so that the kernel no longer counts them. For when it has refused memory. Returns
 * bytes. */
size_t hak_superslab_hollow(void);

/* Unmaps memory behind the last slots of slabs in use. For when unmapping free memory does not suffice. Returns
 * bytes. */
size_t hak_superslab_cut_tails(void);

/* Splits all classes (size_class.h), because memory is scarce. */
void hak_superslab_split_all(void);

/* The slab at `addr`, whose tag is `cls`; NULL: no region has the address. */
HAK_INLINE hak_slab *hak_slab_find(uintptr_t addr, unsigned cls) {
    hak_region *region = hak_region_around(addr); /* its tag was read: it is mapped */
    if (HAK_UNLIKELY(region == NULL || region->kind != HAK_REGION_SLABS))
        return NULL;
    hak_superslab *superslab = hak_region_record(region, addr);
    return &superslab->slabs[(hak_slab_start(cls, addr) >> HAK_GRANULE_SHIFT) % HAK_SUPERSLAB_GRANULES];
}

/* Dies when a superslab's lists, masks and slabs, or the counters, disagree. Takes the lock. For tests. */
void hak_superslab_check(void);

#endif
