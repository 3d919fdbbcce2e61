/* region.h: the reserved address space that superslabs and large objects are cut from. Layer 2.
 *
 *   body   |#### used ####|-- committed --|........ reserved, no access ........|
 *   meta   |## records ###|--             |.....................................|   one record per unit of the body
 *
 * Each kind of memory has regions of its own. One is enough unless the address space is limited (ulimit -v): then
 * regions are small, and there are several. `used` and `committed` only grow, in steps that double, so that
 * the number of system calls grows with the logarithm of the heap. Guarded by the region lock, except
 * that hak_region_find takes none. */
#ifndef HAK_REGION_H
#define HAK_REGION_H

#include "allocator/lock.h"
#include "allocator/size_class.h"

typedef enum hak_region_kind {
    HAK_REGION_SLABS, /* unit: a superslab; record: hak_superslab */
    HAK_REGION_LARGE, /* unit: a granule; record: hak_span */
    /* The same, for large objects that begin at a multiple of more than a page, where the policy puts the others at any page. */
    HAK_REGION_ALIGNED,
    HAK_REGION_KINDS
} hak_region_kind;

typedef struct hak_region {
    _Atomic uintptr_t
        base; /* HAK_REGION_SLABS: a multiple of HAK_SUPERSLAB; else perhaps only of a page, or of HAK_GRANULE */
    _Atomic size_t size; /* bytes; 0: this entry of the table is not in use */
    uintptr_t records;   /* the meta area */
    _Atomic size_t used; /* bytes of the body; raised under the region lock */
    size_t committed;
    size_t meta_size, meta_committed;
    unsigned unit_shift; /* log2 of the bytes of the body that a record describes */
    unsigned index;      /* in the table of regions */
    size_t record_size;  /* bytes */
    hak_region_kind kind;
    bool limited; /* made under an address-space limit: given back when it is all free */
} hak_region;

enum { HAK_REGIONS_MAX = 1024 };

extern hak_lock hak_region_lock;
extern hak_region hak_regions[HAK_REGIONS_MAX];
extern _Atomic unsigned hak_regions_used; /* entries of the table that ever were in use */

/* Bytes, for statistics. */
extern _Atomic size_t hak_region_mapped, hak_region_committed, hak_region_metadata;

/* Sets the size of a unit and of its record. Called for each kind before its first use. */
void hak_region_define(hak_region_kind kind, unsigned unit_shift, size_t record_size);

/* From which byte of a region on huge pages are asked for; SIZE_MAX: nowhere. Set before the first region. */
extern size_t hak_region_huge_from;

/* The region that `addr` lies in, NULL when it lies in none. */
HAK_INLINE hak_region *hak_region_find(uintptr_t addr) {
    unsigned used =
        atomic_load_explicit(&hak_regions_used, memory_order_acquire); /* pairs with region.c publish */
    for (unsigned i = 0; i < used; i++) {
        /* An entry whose region died may get another one meanwhile (size 0, base, size): base and size belong together
         * when size is the same after base. Pairs with the releases in region.c reserve. */
        hak_region *region = &hak_regions[i];
        size_t size = atomic_load_explicit(&region->size, memory_order_acquire);
        uintptr_t base = atomic_load_explicit(&region->base, memory_order_acquire);
        if (addr - base < size && atomic_load_explicit(&region->size, memory_order_relaxed) == size)
            return region;
    }
    return NULL;
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

/* The same from this region and no other. False when it has no room or the OS refuses, and nothing has changed. */
bool hak_region_take_more(hak_region *region, size_t size);

/* Gives a region back to the OS; the caller owns all of it, all free. */
void hak_region_dies(hak_region *region);

#endif
