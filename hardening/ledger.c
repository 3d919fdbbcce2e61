/* ledger.c: the tables of the ledger. What is read out of them is in judge.c and the hooks. */
#include "hardening/ledger.h"

#include "allocator/os.h"
#include "hardening/seal.h"

#include <string.h>

HAK_HIDDEN hak_ledger_region hak_ledger[HAK_REGIONS_MAX + 1];

enum {
    RUN_ALIGN = 16, /* runs of few records share cache lines; none shares a record */
    HEAP_STEP = 256 * HAK_KIB,
    HEAP_STEP_MAX = 16 * HAK_MIB,
};

/* Bytes of records that a granule of the smallest slots needs, with those before and past its ends. */
static const size_t RUN_MAX = (HAK_GRANULE / HAK_MIN_ALIGN + 3) * sizeof(hak_record) + RUN_ALIGN;

static void count(size_t bytes) {
    atomic_fetch_add_explicit(&hak_region_committed, bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&hak_region_metadata, bytes, memory_order_relaxed);
}

/* A limited region may go, and what is sealed may not. */
static void seal(const hak_region *region, uintptr_t addr, size_t size) {
    if (!region->limited)
        hak_seal_metadata(addr, size);
}

static size_t table_entry(hak_region_kind kind) {
    return kind == HAK_REGION_SLABS ? sizeof(hak_granule) : sizeof(hak_large_record);
}

bool hak_ledger_region_born(hak_region *region, size_t size) {
    size_t granules = size >> HAK_GRANULE_SHIFT;
    size_t table = hak_align_up(granules * table_entry(region->kind), hak_os_page);
    size_t heap = region->kind == HAK_REGION_SLABS ? hak_align_up(granules * RUN_MAX, hak_os_page) : 0;
    size_t whole = table + heap + 3 * hak_os_page; /* a page without access before, between and behind */
    uintptr_t map = hak_os_reserve(whole, hak_os_page, 0);
    if (map == 0)
        return false;
    hak_ledger_region *ledger = &hak_ledger[region->index];
    uintptr_t heap_start = map + table + 2 * hak_os_page;
    *ledger = (hak_ledger_region){.base = region->base,
                                  .size = size,
                                  .granules = (hak_granule *)(map + hak_os_page),
                                  .heap = heap_start,
                                  .heap_start = heap_start,
                                  .heap_end = heap_start + heap,
                                  .heap_committed = heap_start,
                                  .map = map,
                                  .map_size = whole};
    if (region->kind == HAK_REGION_SLABS && hak_ledger_first.size == 0)
        hak_ledger_first = *ledger;
    atomic_fetch_add_explicit(&hak_region_mapped, whole, memory_order_relaxed);
    return true;
}

bool hak_ledger_region_commit(hak_region *region, size_t end) {
    hak_ledger_region *ledger = &hak_ledger[region->index];
    size_t need = hak_align_up((end >> HAK_GRANULE_SHIFT) * table_entry(region->kind), hak_os_page);
    if (need > ledger->table_committed) {
        size_t more = need - ledger->table_committed;
        if (!hak_os_commit((uintptr_t)ledger->granules + ledger->table_committed, more))
            return false;
        ledger->table_committed = need;
        count(more);
        seal(region, (uintptr_t)ledger->granules, need);
        seal(region, region->records, region->meta_committed);
    }
    atomic_store_explicit(&ledger->reach, end, memory_order_relaxed);
    if (ledger->base == hak_ledger_first.base)
        atomic_store_explicit(&hak_ledger_first.reach, end, memory_order_relaxed);
    return true;
}

void hak_ledger_region_dies(hak_region *region) {
    hak_ledger_region *ledger = &hak_ledger[region->index];
    ledger->size = 0;
    count(-(ledger->table_committed + (ledger->heap_committed - ledger->heap_start)));
    hak_os_unmap(ledger->map, ledger->map_size);
    atomic_fetch_sub_explicit(&hak_region_mapped, ledger->map_size, memory_order_relaxed);
}

/* Slots that have an owner, or are held back, read as zero again, as all others do. */
static HAK_WALKER void clear_slots(const hak_record *run, uintptr_t slab, const hak_class_info *info) {
    for (uint32_t slot = 0; slot < info->slots; slot++)
        if ((hak_record_load(&run[slot]) & 1) != 0) /* live or held */
            memset((void *)(slab + (uintptr_t)slot * info->size), 0, info->size);
}

static HAK_WALKER void clear_slabs(const hak_ledger_region *ledger, size_t granules) {
    for (size_t i = 0; i < granules;) {
        uintptr_t slab = ledger->base + (i << HAK_GRANULE_SHIFT);
        unsigned cls = ledger->granules[i].cls;
        if (ledger->granules[i].run == NULL) {
            i++;
            continue;
        }
        clear_slots(ledger->granules[i].run, slab, &hak_classes[cls]);
        i += hak_classes[cls].slab_bytes >> HAK_GRANULE_SHIFT;
    }
}

/* Nothing is known of the region, and nothing is committed for it. */
static HAK_WALKER void empty(const hak_region *region) {
    hak_ledger_region *ledger = &hak_ledger[region->index];
    size_t granules = region->used >> HAK_GRANULE_SHIFT;
    if (region->kind == HAK_REGION_SLABS)
        clear_slabs(ledger, granules);
    memset((void *)ledger->granules, 0, granules * table_entry(region->kind));
    memset((void *)ledger->heap_start, 0, ledger->heap - ledger->heap_start);
    count(-(ledger->table_committed + (ledger->heap_committed - ledger->heap_start)));
    ledger->heap = ledger->heap_committed = ledger->heap_start;
    ledger->table_committed = 0;
    atomic_store(&ledger->reach, 0);
}

HAK_WALKER void hak_ledger_reset(bool stay) {
    if (!stay)
        hak_ledger_first.size = hak_ledger_first.base = 0;
    atomic_store(&hak_ledger_first.reach, 0);
    for (unsigned i = 0; stay && i < atomic_load(&hak_regions_used); i++)
        if (hak_regions[i].size != 0)
            empty(&hak_regions[i]);
}

/* Commits the heap of runs up to `end`; false when the OS refuses. */
static bool commit_heap(hak_ledger_region *ledger, uintptr_t end) {
    if (end <= ledger->heap_committed)
        return true;
    size_t step = hak_max(HEAP_STEP, hak_min(ledger->heap_committed - ledger->heap_start, HEAP_STEP_MAX));
    uintptr_t to =
        hak_min(ledger->heap_end, hak_max(ledger->heap_committed + step, hak_align_up(end, hak_os_page)));
    if (!hak_os_commit(ledger->heap_committed, to - ledger->heap_committed))
        return false;
    count(to - ledger->heap_committed);
    ledger->heap_committed = to;
    seal(&hak_regions[ledger - hak_ledger], ledger->heap_start, to - ledger->heap_start);
    return true;
}

/* A run of `records` zeroed records; NULL when there is no memory. */
static hak_record *run_take(hak_ledger_region *ledger, size_t records) {
    size_t size = hak_align_up(records * sizeof(hak_record), RUN_ALIGN);
    uintptr_t run = 0;
    hak_lock_take(&hak_hardening_lock);
    if (ledger->heap + size <= ledger->heap_end && commit_heap(ledger, ledger->heap + size)) {
        run = ledger->heap;
        ledger->heap += size;
    }
    hak_lock_give(&hak_hardening_lock);
    return (hak_record *)run;
}

bool hak_ledger_slab_born(hak_slab *slab, bool *is_new) {
    hak_region *region = hak_region_find(slab->start);
    hak_ledger_region *ledger = &hak_ledger[region->index];
    hak_granule *granules = &ledger->granules[(slab->start - ledger->base) >> HAK_GRANULE_SHIFT];
    *is_new = granules->run == NULL;
    if (!*is_new)
        return true; /* the slab's class is for life, and so is its run */
    /* One record for each index that hak_slot_index can give: also for what is no slot because a guard lies there, and for
     * what is rounded up because it is no multiple. And one before. */
    const hak_class_info *info = &hak_classes[slab->cls];
    hak_record *run = run_take(ledger, info->slab_bytes / info->size + 3);
    if (run == NULL)
        return false;
    for (unsigned i = 0; i < slab->granules; i++) {
        granules[i].reciprocal = info->reciprocal;
        granules[i].size = info->size;
        granules[i].mask = info->slab_bytes - 1;
        granules[i].cls = slab->cls;
        atomic_store_explicit(&granules[i].run, run + 1, memory_order_release);
    }
    return true;
}

const hak_ledger_region *hak_ledger_of(uintptr_t addr) {
    const hak_region *region = hak_region_find(addr);
    return region == NULL ? NULL : &hak_ledger[region->index];
}

const hak_granule *hak_granule_find(uintptr_t addr) {
    const hak_granule *granule = hak_granule_near(addr);
    if (HAK_UNLIKELY(granule == NULL)) {
        const hak_region *region = hak_region_find(addr);
        if (region == NULL || region->kind != HAK_REGION_SLABS)
            return NULL;
        const hak_ledger_region *ledger = &hak_ledger[region->index];
        if (addr - ledger->base >= atomic_load_explicit(&ledger->reach, memory_order_relaxed))
            return NULL;
        granule = &ledger->granules[(addr - ledger->base) >> HAK_GRANULE_SHIFT];
    }
    return granule->run != NULL ? granule : NULL;
}

hak_large_record *hak_ledger_large(uintptr_t addr) {
    hak_region *region = hak_region_find(addr);
    if (region == NULL || !hak_region_is_large(region) || addr - region->base >= region->used)
        return NULL;
    return &hak_ledger[region->index].large[(addr - region->base) >> HAK_GRANULE_SHIFT];
}

bool hak_ledger_large_begins(uintptr_t addr) {
    const hak_region *region = hak_region_find(addr);
    return region != NULL && hak_region_is_large(region) && hak_region_unit_begins(region, addr);
}
