/* ledger.c: the tables of the ledger. What is read out of them is in judge.c and the hooks. */
#include "hardening/ledger.h"

#include "allocator/os.h"
#include "hardening/seal.h"

#include <string.h>

HAK_HIDDEN hak_ledger_region hak_ledger[HAK_REGIONS_MAX + 1];

enum {
    RUN_ALIGN = 16, /* runs of few records share cache lines; none shares a record */
    RUNS_STEP = HAK_GRANULE,
    RUNS_STEP_PART = 8,
};

/* Bytes of records that a granule of the smallest slots needs, with those before and past its ends. */
static const size_t RUN_MAX = (HAK_GRANULE / HAK_MIN_ALIGN + 3) * sizeof(hak_record) + RUN_ALIGN;

static void count(size_t bytes) {
    atomic_fetch_add_explicit(&hak_region_mapped, bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&hak_region_committed, bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&hak_region_metadata, bytes, memory_order_relaxed);
}

static size_t table_entry(hak_region_kind kind) {
    return kind == HAK_REGION_SLABS ? sizeof(hak_granule) : sizeof(hak_large_record);
}

static size_t table_bytes(hak_region_kind kind, size_t size) {
    return hak_align_up((size >> HAK_GRANULE_SHIFT) * table_entry(kind), hak_os_page);
}

/* Runs for some slabs of the region; other regions have none. */
static bool begin_runs(hak_ledger_region *ledger, size_t size) {
    size_t room = hak_align_up((size >> HAK_GRANULE_SHIFT) * RUN_MAX, hak_os_page);
    if (!hak_extent_begin(&ledger->runs, room, HAK_GRANULE, hak_os_page))
        return false;
    count(ledger->runs.mapped);
    return true;
}

bool hak_ledger_region_born(hak_region *region, size_t size) {
    hak_ledger_region *ledger = &hak_ledger[region->index];
    *ledger = (hak_ledger_region){.base = region->base, .size = size};
    if (!hak_extent_begin(&ledger->table, table_bytes(region->kind, size),
                          table_bytes(region->kind, region->body.mapped), hak_os_page))
        return false;
    ledger->granules = (hak_granule *)ledger->table.start;
    count(ledger->table.mapped);
    if (region->kind == HAK_REGION_SLABS && !begin_runs(ledger, size)) {
        count(-ledger->table.mapped);
        hak_extent_end(&ledger->table);
        return false;
    }
    if (region->kind == HAK_REGION_SLABS && hak_ledger_first.size == 0)
        hak_ledger_first = *ledger;
    return true;
}

bool hak_ledger_region_commit(hak_region *region, size_t end) {
    hak_ledger_region *ledger = &hak_ledger[region->index];
    size_t before = ledger->table.mapped, need = table_bytes(region->kind, end);
    if (!hak_extent_grow(&ledger->table, need))
        return false;
    count(ledger->table.mapped - before);
    hak_seal_metadata(ledger->table.start, ledger->table.mapped);
    hak_seal_metadata(region->records, region->meta_committed);
    atomic_store_explicit(&ledger->reach, end, memory_order_relaxed);
    if (ledger->base == hak_ledger_first.base)
        atomic_store_explicit(&hak_ledger_first.reach, end, memory_order_relaxed);
    return true;
}

void hak_ledger_region_dies(hak_region *region) {
    hak_ledger_region *ledger = &hak_ledger[region->index];
    ledger->size = 0;
    count(-(ledger->table.mapped + ledger->runs.mapped));
    hak_extent_end(&ledger->table);
    if (ledger->runs.start != 0)
        hak_extent_end(&ledger->runs);
    if (ledger->base == hak_ledger_first.base)
        hak_ledger_first.size = hak_ledger_first.base = 0;
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
    if (ledger->runs_used != 0)
        memset((void *)ledger->runs.start, 0, ledger->runs_used);
    count(-(ledger->table.mapped + ledger->runs.mapped));
    ledger->runs_used = ledger->runs.mapped = ledger->table.mapped = 0;
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

/* Maps the runs up to byte `end`, by a generous step or else just so far; false when the OS refuses. */
static bool grow_runs(hak_ledger_region *ledger, size_t end) {
    size_t before = ledger->runs.mapped;
    if (end <= before)
        return true;
    size_t step = hak_align_up(hak_max(RUNS_STEP, before / RUNS_STEP_PART), hak_os_page);
    if (!hak_extent_grow(&ledger->runs, hak_min(ledger->runs.room,
                                                hak_max(before + step, hak_align_up(end, hak_os_page)))) &&
        !hak_extent_grow(&ledger->runs, hak_align_up(end, hak_os_page)))
        return false;
    count(ledger->runs.mapped - before);
    hak_seal_metadata(ledger->runs.start, ledger->runs.mapped);
    return true;
}

/* Where the runs cannot grow any more, because somebody else has mapped behind them, those that there are stay and more begin elsewhere. */
static bool find_runs(hak_ledger_region *ledger, size_t size) {
    if (grow_runs(ledger, ledger->runs_used + size))
        return true;
    if (ledger->runs.mapped != ledger->runs.room || !begin_runs(ledger, ledger->size))
        return false;
    ledger->runs_used = 0;
    return grow_runs(ledger, size);
}

/* A run of `records` zeroed records; NULL when there is no memory. */
static hak_record *run_take(hak_ledger_region *ledger, size_t records) {
    size_t size = hak_align_up(records * sizeof(hak_record), RUN_ALIGN);
    hak_record *run = NULL;
    hak_lock_take(&hak_region_lock); /* for the extent */
    hak_lock_take(&hak_hardening_lock);
    if (find_runs(ledger, size)) {
        run = (hak_record *)(ledger->runs.start + ledger->runs_used);
        ledger->runs_used += size;
    }
    hak_lock_give(&hak_hardening_lock);
    hak_lock_give(&hak_region_lock);
    return run;
}

bool hak_ledger_slab_born(hak_slab *slab, bool *is_new) {
    hak_region *region = hak_region_find(slab->start);
    hak_ledger_region *ledger = &hak_ledger[region->index];
    hak_granule *granules = &ledger->granules[(slab->start - ledger->base) >> HAK_GRANULE_SHIFT];
    *is_new = granules->run == NULL || granules->hollowed != 0;
    granules->hollowed = 0;
    if (granules->run != NULL)
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

void hak_ledger_hollowed(uintptr_t superslab, uint32_t mask) {
    hak_ledger_region *ledger = &hak_ledger[hak_region_find(superslab)->index];
    hak_granule *granules = &ledger->granules[(superslab - ledger->base) >> HAK_GRANULE_SHIFT];
    for (unsigned i = 0; i < HAK_SUPERSLAB_GRANULES; i++)
        if ((mask >> i & 1) != 0 && granules[i].run != NULL)
            granules[i].hollowed = 1;
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
