/* ledger.c: the tables of the ledger. What is read out of them is in judge.c and the hooks. */
#include "hardening/ledger.h"

#include "allocator/os.h"

HAK_HIDDEN hak_ledger_region hak_ledger[HAK_REGIONS_MAX + 1];

enum {
    RUN_ALIGN = 16, /* runs of few records share cache lines; none shares a record */
    HEAP_STEP = 256 * HAK_KIB,
    HEAP_STEP_MAX = 16 * HAK_MIB,
};

/* Bytes of records that a granule of the smallest slots needs, with the one past the end. */
static const size_t RUN_MAX = (HAK_GRANULE / HAK_MIN_ALIGN + 2) * sizeof(hak_record) + RUN_ALIGN;

static void count(size_t bytes) {
    atomic_fetch_add_explicit(&hak_region_committed, bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&hak_region_metadata, bytes, memory_order_relaxed);
}

static size_t table_entry(hak_region_kind kind) {
    return kind == HAK_REGION_SLABS ? sizeof(hak_record *) : sizeof(hak_large_record);
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
                                  .runs = (_Atomic(hak_record *) *)(map + hak_os_page),
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
    if (need <= ledger->table_committed)
        return true;
    size_t more = need - ledger->table_committed;
    if (!hak_os_commit((uintptr_t)ledger->runs + ledger->table_committed, more))
        return false;
    ledger->table_committed = need;
    count(more);
    return true;
}

void hak_ledger_region_dies(hak_region *region) {
    hak_ledger_region *ledger = &hak_ledger[region->index];
    ledger->size = 0;
    count(-(ledger->table_committed + (ledger->heap_committed - ledger->heap_start)));
    hak_os_unmap(ledger->map, ledger->map_size);
    atomic_fetch_sub_explicit(&hak_region_mapped, ledger->map_size, memory_order_relaxed);
}

void hak_ledger_reset(void) {
    hak_ledger_first.size = 0;
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
    _Atomic(hak_record *) *runs = &ledger->runs[(slab->start - ledger->base) >> HAK_GRANULE_SHIFT];
    *is_new = *runs == NULL;
    if (!*is_new)
        return true; /* the slab's class is for life, and so is its run */
    /* One record for each index that hak_slot_index can give: also for what is no slot because a guard lies there, and for
     * what is rounded up because it is no multiple. */
    const hak_class_info *info = &hak_classes[slab->cls];
    hak_record *run = run_take(ledger, info->slab_bytes / info->size + 2);
    if (run == NULL)
        return false;
    for (unsigned i = 0; i < slab->granules; i++)
        runs[i] = run;
    return true;
}

hak_large_record *hak_ledger_large(uintptr_t addr) {
    hak_region *region = hak_region_find(addr);
    if (region == NULL || region->kind != HAK_REGION_LARGE || addr - region->base >= region->used)
        return NULL;
    return &hak_ledger[region->index].large[(addr - region->base) >> HAK_GRANULE_SHIFT];
}
