/* region.h: the address space that superslabs and large objects are cut from. Layer 2.
 *
 *   body   |#### used ####|-- committed --|........ room to grow, not mapped ........|
 *   meta   |## records ###|--             |..........................................|   one record per unit of the
 *   body
 *   extra  |## what only some units need, in the order in which they asked ..........|
 *
 * Each kind of memory has regions of its own; one is enough, unless somebody maps where it would grow. All three are
 * extents: nothing is reserved. `used` and `committed` only grow, in steps of a sixteenth, so that the number of
 * system calls grows with the logarithm of the heap; where the OS refuses such a step, just what is needed is asked
 * for. Whoever owns a part may hollow it: its addresses stay the region's, its memory goes. Guarded by the region
 * lock, except that hak_region_find takes none. */
#ifndef HAK_REGION_H
#define HAK_REGION_H

#include "allocator/base/lock.h"
#include "allocator/os/extent.h"
#include "allocator/pages/size_class.h"

typedef enum hak_region_kind {
    HAK_REGION_SLABS, /* unit: a superslab; record: hak_superslab */
    HAK_REGION_LARGE, /* unit: a granule; record: hak_span */
    /* The same, for large objects that begin at a multiple of more than a page, where the policy puts the others at
     * any page. */
    HAK_REGION_ALIGNED,
    /* Large objects of a partition of the typed heap: the first one's kind, and so on. They begin at a granule. */
    HAK_REGION_TYPED,
    HAK_REGION_KINDS = HAK_REGION_TYPED + HAK_PARTITIONS_MAX
} hak_region_kind;

typedef struct hak_region {
    _Atomic uintptr_t
        base; /* HAK_REGION_SLABS: a multiple of HAK_SUPERSLAB; else perhaps only of a page, or of HAK_GRANULE */
    _Atomic size_t size; /* bytes that it may grow to; 0: this entry of the table is not in use */
    uintptr_t records;   /* the meta area */
    _Atomic size_t used; /* bytes of the body; raised under the region lock */
    _Atomic size_t
        committed; /* bytes of the body whose addresses are the region's: mapped, but for what is hollow */
    size_t meta_committed;
    size_t tagged;       /* bytes of the body whose tags may be written */
    size_t huge_asked;   /* bytes of the body that were looked at for huge pages */
    unsigned unit_shift; /* log2 of the bytes of the body that a record describes */
    unsigned index;      /* in the table of regions */
    size_t record_size;  /* bytes */
    hak_region_kind kind;
    hak_extent body, meta, extra;
    size_t extra_used; /* bytes */
} hak_region;

enum { HAK_REGIONS_MAX = 1024 };

extern hak_lock hak_region_lock;
extern hak_region *hak_regions;           /* has an address when one was in use */
extern _Atomic unsigned hak_regions_used; /* entries of the table that ever were in use */

/* Bytes of address space, of memory that may be touched, and of that for records: for statistics. */
extern _Atomic size_t hak_region_mapped, hak_region_committed, hak_region_metadata;

/* Sets the size of a unit and of its record. Called for each kind before its first use. */
void hak_region_define(hak_region_kind kind, unsigned unit_shift, size_t record_size);

/* From which byte of a region on huge pages are asked for; SIZE_MAX: nowhere. Set before the first region. */
extern size_t hak_region_huge_from;

/* The region in whose room `addr` lies, NULL: in none. Nothing need be mapped there. */
HAK_INLINE hak_region *hak_region_around(uintptr_t addr) {
    unsigned used =
        atomic_load_explicit(&hak_regions_used, memory_order_acquire); /* pairs with region.c publish */
    for (unsigned i = 0; i < used; i++) {
        /* An entry whose region died may get another one meanwhile (size 0, base, size): base and size belong together
         * when size is the same after base. Pairs with the releases in region.c begin. */
        hak_region *region = &hak_regions[i];
        size_t size = atomic_load_explicit(&region->size, memory_order_acquire);
        uintptr_t base = atomic_load_explicit(&region->base, memory_order_acquire);
        if (addr - base < size && atomic_load_explicit(&region->size, memory_order_relaxed) == size)
            return region;
    }
    return NULL;
}

/* The region that `addr` lies in, NULL when it lies in none: its tag and its record may be read. */
HAK_INLINE hak_region *hak_region_find(uintptr_t addr) {
    hak_region *region = hak_region_around(addr);
    if (region == NULL ||
        addr - region->base >=
            atomic_load_explicit(&region->committed, memory_order_acquire)) /* pairs with commit_to */
        return NULL;
    return region;
}

/* Large objects, of either kind. */
HAK_INLINE bool hak_region_is_large(const hak_region *region) {
    return region->kind != HAK_REGION_SLABS;
}

/* True when one of the region's units begins at `addr`, which lies in it. */
HAK_INLINE bool hak_region_unit_begins(const hak_region *region, uintptr_t addr) {
    return ((addr - region->base) & (((uintptr_t)1 << region->unit_shift) - 1)) == 0;
}

HAK_INLINE void *hak_region_record(const hak_region *region, uintptr_t addr) {
    return (void *)(region->records + ((addr - region->base) >> region->unit_shift) * region->record_size);
}

/* Takes `size` bytes (a multiple of the unit) of committed, zeroed memory from the front of the unused part;
 * its records are zeroed too, its tags may be written. 0 when the OS refuses, and nothing has changed. */
uintptr_t hak_region_take(hak_region_kind kind, size_t size, hak_region **out);

/* The same, but that the memory is hollow. */
uintptr_t hak_region_take_hollow(hak_region_kind kind, size_t size, hak_region **out);

/* The same as hak_region_take from this region and no other. False when it has no room or the OS refuses, and
 * nothing has changed. */
bool hak_region_take_more(hak_region *region, size_t size);

/* `size` bytes (a multiple of the page) for what a unit needs beside its record: of unknown content, never given
 * back. NULL when the OS refuses. Any lock but the region's may be held. */
void *hak_region_extra(hak_region *region, size_t size);

/* Of a used part, whose owner calls: its memory goes, and with it all that the kernel counts; and comes back,
 * zeroed. When it is not done nothing has changed; HAK_MAP_TAKEN: the part is somebody else's now, for good. Any
 * lock but the region's may be held. */
bool hak_region_hollow(hak_region *region, uintptr_t addr, size_t size);
hak_map_result hak_region_fill(hak_region *region, uintptr_t addr, size_t size);

/* Moves what is mapped at `from` to the hollow part at `to`, as hak_os_move does; `from` is hollow then. */
bool hak_region_move(hak_region *old, uintptr_t from, size_t size, hak_region *region, uintptr_t to,
                     size_t new_size);

/* hak_table_reach (table.h). Any lock but the region's may be held, the same one at each call for a table. */
bool hak_region_reach(hak_extent *table, size_t size, size_t most, size_t entries);

/* Gives what is committed and not used back. Bytes. */
size_t hak_region_trim(void);

/* Gives a region back to the OS; the caller owns all of it, all free. For tests: see reset.h. */
void hak_region_dies(hak_region *region);

#endif
