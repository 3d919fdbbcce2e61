/* locate.c: see locate.h. */
#include "hardening/locate.h"

#include "allocator/heap/large.h"
#include "allocator/os/os.h"
#include "hardening/sample.h"

/* The most granules without a slab that are skipped to find the slab before an address (64 MiB) or, if there is
 * none, the slab after it (2 MiB). */
enum { LOOK_BACK = 1024, LOOK_AHEAD = 32 };

/* The class of the slab that contains the address, hollow or not; 0: none. */
static unsigned class_at(const hak_ledger_region *region, uintptr_t addr) {
    size_t offset = addr - region->base;
    if (offset >= atomic_load_explicit(&region->reach, memory_order_relaxed))
        return 0;
    const hak_granule *granule = &region->granules[offset >> HAK_GRANULE_SHIFT];
    bool known = atomic_load_explicit(&granule->run, memory_order_acquire) != NULL || granule->hollowed;
    return known ? granule->cls : 0;
}

/* For an address in no slab takes the slab before it, because a copy far past the end of an object leads there.
 * But the guard right before a slab belongs to that slab, for an access before its first slot; and so does
 * memory before the first slab. */
static bool locate_slot(const hak_ledger_region *region, uintptr_t addr, hak_located *out) {
    uintptr_t next = hak_align_up(addr + 1, HAK_GRANULE);
    if (class_at(region, addr) == 0 && next - addr <= hak_os_page && class_at(region, next) != 0)
        addr = next;
    unsigned cls = class_at(region, addr);
    unsigned steps = LOOK_BACK;
    for (; cls == 0 && steps > 0 && addr - region->base >= HAK_GRANULE; steps--) {
        addr = hak_align_down(addr, HAK_GRANULE) - 1;
        cls = class_at(region, addr);
    }
    for (steps = LOOK_AHEAD; cls == 0 && steps > 0; steps--) {
        addr = next;
        next += HAK_GRANULE;
        cls = class_at(region, addr);
    }
    if (cls == 0)
        return false;
    const hak_class_info *info = &hak_classes[cls];
    const hak_record *run = region->granules[(addr - region->base) >> HAK_GRANULE_SHIFT].run;
    uintptr_t slab = hak_slab_start(cls, addr);
    uint32_t slot = (uint32_t)((addr - slab) / info->size);
    if (slot >= info->slots) { /* in the guard, or in a slot that has taken its place */
        const hak_record *last =
            run != NULL && (slot + 1) * info->size <= info->slab_bytes ? &run[slot] : NULL;
        if (last == NULL || hak_record_load(last) == HAK_SLOT_UNUSED)
            slot = info->slots - 1;
    }
    uint32_t word =
        run != NULL ? hak_ledger_word(addr, hak_record_load(&run[slot])) : HAK_SLOT_FREED; /* hollow */
    *out = (hak_located){.where = HAK_WHERE_SLOT,
                         .obj = slab + (uintptr_t)slot * info->size,
                         .size = hak_record_size(word),
                         .room = info->size,
                         .word = word,
                         .cls = cls};
    return true;
}

/* The record of the last object that began at or before `addr`. */
static bool locate_large(const hak_region *region, const hak_ledger_region *ledger, uintptr_t addr,
                         hak_located *out) {
    if (addr - region->base >= region->used)
        return false;
    for (size_t i = (addr - region->base) >> HAK_GRANULE_SHIFT;; i--) {
        const hak_large_record *record = &ledger->large[i];
        uint32_t word = HAK_GLANCE(record->word);
        if (word != 0) {
            *out = (hak_located){.where = HAK_WHERE_LARGE,
                                 .obj = region->base + (i << HAK_GRANULE_SHIFT),
                                 .size = record->size,
                                 .room = hak_ledger_large_pages(record),
                                 .word = word};
            return true;
        }
        if (i == 0)
            return false;
    }
}

/* The start of the region's first slab; the region's start when it has none. */
static uintptr_t first_slab(const hak_region *region) {
    for (size_t at = 0; at < region->used; at += HAK_GRANULE)
        if (class_at(&hak_ledger[region->index], region->base + at) != 0)
            return region->base + at;
    return region->base;
}

bool hak_locate(uintptr_t addr, hak_located *out) {
    if (hak_sample_locate_before(addr, out))
        return true;
    hak_region *region = hak_region_find(addr);
    if (region == NULL &&
        (region = hak_region_around(addr)) != NULL) { /* behind the region's memory: take its last object */
        uintptr_t end = region->base + region->committed;
        if (addr - end >= (uintptr_t)LOOK_BACK * HAK_GRANULE)
            return false;
        addr = end - 1;
    }
    if (region == NULL) { /* just before a region: take its first object */
        region = hak_region_find(addr + HAK_GRANULE);
        if (region == NULL)
            return false;
        addr = region->kind == HAK_REGION_SLABS ? first_slab(region) : region->base;
    }
    const hak_ledger_region *ledger = &hak_ledger[region->index];
    if (region->kind == HAK_REGION_SLABS)
        return locate_slot(ledger, addr, out);
    return locate_large(region, ledger, addr, out);
}
