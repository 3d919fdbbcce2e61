/* region.h: the address space that superslabs and large objects are cut from. Layer 2.
 *
 *   body   |#### used ####|-- committed --|........ room to grow, not mapped ........|
 *   meta   |## records ###|--             |..........................................|
 *   extra  |## what only some units need, in the order in which they asked ..........|
 *
 * The meta area has one record per unit of the body.
 *
 * Each kind of memory has its own regions. One is enough, unless other code maps memory where it would grow.
 * Body, meta and extra are extents: nothing is reserved. `used` and `committed` only grow, in steps of a
 * sixteenth, so the number of system calls grows with the logarithm of the heap. If the OS refuses such a step,
 * only the needed part is committed. The owner of a part may hollow it: the region keeps the addresses and
 * unmaps the memory. Guarded by the region lock, except that hak_region_find takes no lock. */
#ifndef HAK_REGION_H
#define HAK_REGION_H

#include "allocator/base/lock.h"
#include "allocator/os/extent.h"
#include "allocator/pages/size_class.h"

typedef enum hak_region_kind {
    HAK_REGION_SLABS, /* unit: a superslab; record: hak_superslab */
    HAK_REGION_LARGE, /* unit: a granule; record: hak_span */
    /* The same, for large objects with an alignment above a page, where the policy lets other large objects
     * begin at any page. */
    HAK_REGION_ALIGNED,
    /* Large objects of partition 1 of the typed heap; the kinds of the other partitions follow. They begin at a
     * granule. */
    HAK_REGION_TYPED,
    HAK_REGION_KINDS = HAK_REGION_TYPED + HAK_PARTITIONS_MAX
} hak_region_kind;

typedef struct hak_region {
    _Atomic uintptr_t base;   /* aligned to HAK_SUPERSLAB (HAK_REGION_SLABS), else at least to a page */
    _Atomic size_t size;      /* bytes that it may grow to; 0: this entry of the table is not in use */
    uintptr_t records;        /* the meta area */
    _Atomic size_t used;      /* bytes of the body; raised under the region lock */
    _Atomic size_t committed; /* bytes of the body that are mapped or hollow */
    size_t meta_committed;
    size_t tagged;       /* bytes of the body whose tags are writable */
    size_t huge_asked;   /* bytes of the body for which huge pages were considered */
    unsigned unit_shift; /* log2 of the bytes of a unit, which one record describes */
    unsigned index;      /* in the table of regions */
    size_t record_size;  /* bytes */
    hak_region_kind kind;
    hak_extent body, meta, extra;
    size_t extra_used; /* bytes */
} hak_region;

enum { HAK_REGIONS_MAX = 1024 };

extern hak_lock hak_region_lock;
extern hak_region *hak_regions;           /* NULL before the first region */
extern _Atomic unsigned hak_regions_used; /* entries of the table that were ever in use */

/* For statistics: bytes of address space, of memory that may be touched, and of such memory for records. */
extern _Atomic size_t hak_region_mapped, hak_region_committed, hak_region_metadata;

/* Sets the size of a unit and of its record. Called for each kind before its first use. */
void hak_region_define(hak_region_kind kind, unsigned unit_shift, size_t record_size);

/* Huge pages are requested from this byte of a region on; SIZE_MAX: never. Set before the first region. */
extern size_t hak_region_huge_from;
/* True where memory is limited to so little that only HAKMEM_SS_HUGE=ALWAYS makes huge pages. One of which a part is
 * free again counts as a whole in a control group until the kernel splits it, and kernel 6.1 was seen to kill a process
 * before. Only where hak_os_resident_told(). */
bool hak_region_huge_spared(void);

/* The region whose body, with its room to grow, contains `addr`; NULL: none does. The address need not be
 * mapped. */
HAK_INLINE hak_region *hak_region_around(uintptr_t addr) {
    /* pairs with publish in region.c */
    unsigned used = atomic_load_explicit(&hak_regions_used, memory_order_acquire);
    for (unsigned i = 0; i < used; i++) {
        /* An entry whose region died may be reused meanwhile (size 0, then base, then size). base and size
         * belong together when size is the same before and after the read of base. Pairs with the releases in
         * begin in region.c. */
        hak_region *region = &hak_regions[i];
        size_t size = atomic_load_explicit(&region->size, memory_order_acquire);
        uintptr_t base = atomic_load_explicit(&region->base, memory_order_acquire);
        if (addr - base < size && atomic_load_explicit(&region->size, memory_order_relaxed) == size)
            return region;
    }
    return NULL;
}

/* The region whose committed part contains `addr`; NULL: none does. Its tag and its record may be read. */
HAK_INLINE hak_region *hak_region_find(uintptr_t addr) {
    hak_region *region = hak_region_around(addr);
    /* acquire: pairs with commit_to */
    if (region == NULL ||
        addr - region->base >= atomic_load_explicit(&region->committed, memory_order_acquire))
        return NULL;
    return region;
}

/* True for regions of large objects of any kind. */
HAK_INLINE bool hak_region_is_large(const hak_region *region) {
    return region->kind != HAK_REGION_SLABS;
}

/* True when a unit begins at `addr`, which lies in the region. */
HAK_INLINE bool hak_region_unit_begins(const hak_region *region, uintptr_t addr) {
    return ((addr - region->base) & (((uintptr_t)1 << region->unit_shift) - 1)) == 0;
}

HAK_INLINE void *hak_region_record(const hak_region *region, uintptr_t addr) {
    return (void *)(region->records + ((addr - region->base) >> region->unit_shift) * region->record_size);
}

/* Takes `size` bytes (a multiple of the unit) of committed, zeroed memory from the start of the unused part.
 * Their records are zeroed, too, and their tags are writable. 0: the OS refused, and nothing has changed. */
uintptr_t hak_region_take(hak_region_kind kind, size_t size, hak_region **out);

/* The same, but the memory is hollow. */
uintptr_t hak_region_take_hollow(hak_region_kind kind, size_t size, hak_region **out);

/* As hak_region_take, from this region only. False: no room or the OS refused; nothing has changed. */
bool hak_region_take_more(hak_region *region, size_t size);

/* Takes `size` bytes (a multiple of the page) for what a unit needs beside its record. They have any contents
 * and are never given back. NULL: the OS refused. The caller may hold any lock except the region lock. */
void *hak_region_extra(hak_region *region, size_t size);

/* hollow unmaps a used part; fill maps it again, zeroed. The caller owns the part, and may hold any lock except
 * the region lock. On failure nothing has changed; with HAK_MAP_TAKEN other code has mapped memory there, and
 * the part is lost for good. */
bool hak_region_hollow(hak_region *region, uintptr_t addr, size_t size);
hak_map_result hak_region_fill(hak_region *region, uintptr_t addr, size_t size);

/* Moves what is mapped at `from` to the hollow part at `to`, as hak_os_move does; `from` is hollow then. */
bool hak_region_move(hak_region *old, uintptr_t from, size_t size, hak_region *region, uintptr_t to,
                     size_t new_size);

/* hak_table_reach (table.h), under the region lock. The caller may hold any other lock, but the same one at
 * each call for a table. */
bool hak_region_reach(hak_extent *table, size_t size, size_t most, size_t entries);

/* Unmaps memory that is committed and not used. Returns bytes. */
size_t hak_region_trim(void);

/* Gives a region back to the OS; all of it is free and belongs to the caller. For tests: see reset.h. */
void hak_region_dies(hak_region *region);

#endif
