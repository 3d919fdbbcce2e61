/* ledger.c: the tables of the ledger. verify.c and the hooks read them. */
#include "hardening/ledger.h"

#include "allocator/os/os.h"
#include "allocator/pages/table.h"
#include "hardening/marks.h"
#include "hardening/runs.h"
#include "hardening/seal.h"

#include <string.h>

HAK_HIDDEN hak_ledger_region *hak_ledger;
HAK_HIDDEN hak_ledger_region hak_ledger_first;

void hak_ledger_count(size_t bytes) {
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

static bool begin_marks(hak_ledger_region *ledger, size_t first) {
    if (!hak_extent_begin(&ledger->marks, hak_marks_bytes(ledger->size), hak_marks_bytes(first), hak_os_page))
        return false;
    hak_ledger_count(ledger->marks.mapped);
    return true;
}

static bool grow_marks(hak_ledger_region *ledger, size_t end) {
    size_t before = ledger->marks.mapped;
    if (!hak_extent_grow(&ledger->marks, hak_marks_bytes(end)))
        return false;
    hak_ledger_count(ledger->marks.mapped - before);
    return true;
}

bool hak_ledger_region_born(hak_region *region, size_t size) {
    static hak_extent table;
    if (!hak_table_reach(&table, sizeof(hak_ledger_region), HAK_REGIONS_MAX, region->index + 1u))
        return false;
    if (hak_ledger == NULL) /* others read it */
        hak_ledger = (hak_ledger_region *)table.start;
    hak_ledger_region *ledger = &hak_ledger[region->index];
    *ledger = (hak_ledger_region){.base = region->base, .size = size};
    if (!hak_extent_begin(&ledger->table, table_bytes(region->kind, size),
                          table_bytes(region->kind, region->body.mapped), hak_os_page))
        return false;
    ledger->granules = (hak_granule *)ledger->table.start;
    hak_ledger_count(ledger->table.mapped);
    if (!(region->kind == HAK_REGION_SLABS ? hak_runs_begin(ledger)
                                           : begin_marks(ledger, region->body.mapped))) {
        hak_ledger_count(-ledger->table.mapped);
        hak_extent_end(&ledger->table);
        return false;
    }
    /* No lookup uses the copy before its reach is published, which is released later. With an old base or reach
     * a lookup takes the slow path. */
    if (region->kind == HAK_REGION_SLABS && hak_ledger_first.size == 0)
        hak_ledger_first = *ledger;
    return true;
}

bool hak_ledger_region_commit(hak_region *region, size_t end) {
    hak_ledger_region *ledger = &hak_ledger[region->index];
    size_t before = ledger->table.mapped, need = table_bytes(region->kind, end);
    if (!hak_extent_grow(&ledger->table, need))
        return false;
    hak_ledger_count(ledger->table.mapped - before);
    if (region->kind != HAK_REGION_SLABS && !grow_marks(ledger, end))
        return false;
    hak_seal_metadata(ledger->table.start, ledger->table.mapped);
    hak_seal_metadata(region->records, region->meta_committed);
    if (region->extra.mapped != 0)
        hak_seal_metadata(region->extra.start, region->extra.mapped);
    atomic_store_explicit(&ledger->reach, end, memory_order_relaxed);
    /* release: pairs with the acquire in hak_granule_near */
    if (ledger->base == hak_ledger_first.base)
        atomic_store_explicit(&hak_ledger_first.reach, end, memory_order_release);
    return true;
}

void hak_ledger_region_dies(hak_region *region) {
    hak_ledger_region *ledger = &hak_ledger[region->index];
    ledger->size = 0;
    hak_ledger_count(-ledger->table.mapped);
    hak_extent_end(&ledger->table);
    hak_runs_end(ledger);
    if (ledger->marks.start != 0) {
        hak_ledger_count(-ledger->marks.mapped);
        hak_extent_end(&ledger->marks);
    }
    if (ledger->base == hak_ledger_first.base)
        hak_ledger_first.size = hak_ledger_first.base = 0;
}

/* Zeroes slots that are live or held; all others are zero already. */
static HAK_WALKER void clear_slots(const hak_record *run, uintptr_t slab, const hak_class_info *info) {
    for (uint32_t slot = 0; slot < info->slab_bytes / info->size; slot++)
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

/* Forgets all records of the region, and counts none of its tables as mapped. */
static HAK_WALKER void empty(const hak_region *region) {
    hak_ledger_region *ledger = &hak_ledger[region->index];
    size_t granules = region->used >> HAK_GRANULE_SHIFT;
    if (region->kind == HAK_REGION_SLABS)
        clear_slabs(ledger, granules);
    memset((void *)ledger->granules, 0, granules * table_entry(region->kind));
    hak_runs_empty(ledger);
    if (ledger->marks.start != 0)
        memset((void *)ledger->marks.start, 0, hak_marks_bytes(region->used));
    hak_ledger_count(-(ledger->table.mapped + ledger->marks.mapped));
    ledger->table.mapped = ledger->marks.mapped = 0;
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

/* The number of records of a slab of the class: one for each index that hak_slot_index can give, and one before.
 * Some indexes belong to no slot: those of the guard, and those to which the index is rounded up for an address that
 * is not a multiple of the slot size. */
static size_t run_records(unsigned cls) {
    return hak_classes[cls].slab_bytes / hak_classes[cls].size + 3;
}

static void describe(hak_granule *granules, const hak_slab *slab, hak_record *run) {
    const hak_class_info *info = &hak_classes[slab->cls];
    for (unsigned i = 0; i < slab->granules; i++) {
        granules[i].reciprocal = info->reciprocal << HAK_RECIPROCAL_SHIFT;
        granules[i].size = info->size;
        granules[i].mask = info->slab_bytes - 1;
        granules[i].cls = slab->cls;
        granules[i].partition = (uint16_t)hak_shard_partition(slab->shard);
        granules[i].hollowed = 0;
        granules[i].lost = HAK_LOST_NOT;
        atomic_store_explicit(&granules[i].run, run + 1, memory_order_release);
    }
}

/* Returns the record before that of the first slot. */
static hak_record *run_start(const hak_granule *granules) {
    return atomic_load_explicit(&granules->run, memory_order_relaxed) - 1;
}

static void set_lost(hak_granule *granules, hak_lost lost) {
    for (unsigned i = 0; i < hak_classes[granules->cls].slab_bytes >> HAK_GRANULE_SHIFT; i++)
        HAK_SHOW(granules[i].lost, (uint8_t)lost);
}

/* Ends the idle state of the slab's run, because the slab is taken or becomes hollow. */
static void wake(hak_ledger_region *ledger, hak_granule *granules) {
    if (granules->lost != HAK_LOST_IDLE)
        return;
    hak_run_wake(ledger, run_start(granules), run_records(granules->cls));
    set_lost(granules, HAK_LOST_ONCE);
}

void hak_ledger_slab_purged(const hak_slab *slab) {
    hak_ledger_region *ledger = &hak_ledger[hak_region_find(slab->start)->index];
    hak_granule *granules = &ledger->granules[(slab->start - ledger->base) >> HAK_GRANULE_SHIFT];
    if (granules->run == NULL || granules->lost == HAK_LOST_IDLE)
        return; /* for example, the slab is hollow */
    set_lost(granules, HAK_LOST_IDLE);
    hak_run_idle(ledger, run_start(granules), run_records(slab->cls));
}

uint32_t hak_ledger_word(uintptr_t addr, uint32_t word) {
    const hak_granule *granule = hak_granule_find(addr);
    bool lost = granule != NULL && HAK_GLANCE(granule->lost) != HAK_LOST_NOT;
    return lost && hak_record_state(word) == HAK_SLOT_UNUSED ? HAK_SLOT_FREED : word;
}

/* Maps the run that the slab had before it was hollow, or takes another one. */
static hak_record *run_again(hak_ledger_region *ledger, const hak_granule *granule, size_t records) {
    hak_map_result result = hak_run_fill(ledger, granule->hollow_run, records);
    return result == HAK_MAP_DONE    ? granule->hollow_run
           : result == HAK_MAP_TAKEN ? hak_run_take(ledger, records)
                                     : NULL;
}

bool hak_ledger_slab_born(hak_slab *slab, bool *is_new) {
    hak_region *region = hak_region_find(slab->start);
    hak_ledger_region *ledger = &hak_ledger[region->index];
    hak_granule *granules = &ledger->granules[(slab->start - ledger->base) >> HAK_GRANULE_SHIFT];
    *is_new = granules->run == NULL;
    if (granules->run != NULL) { /* a slab keeps its class for life, and its run with it */
        wake(ledger, granules);
        return true;
    }
    size_t records = run_records(slab->cls);
    hak_record *run =
        granules->hollowed ? run_again(ledger, granules, records) : hak_run_take(ledger, records);
    if (run == NULL)
        return false;
    describe(granules, slab, run);
    return true;
}

/* Marks a slab's granules as hollow; they keep its class and the address of its run. */
static unsigned slab_hollowed(hak_ledger_region *ledger, hak_granule *granules) {
    wake(ledger, granules);
    hak_record *run = run_start(granules);
    unsigned cls = granules->cls, count = hak_classes[cls].slab_bytes >> HAK_GRANULE_SHIFT;
    for (unsigned i = 0; i < count; i++) {
        granules[i].hollowed = 1;
        atomic_store_explicit(&granules[i].run, NULL, memory_order_release);
        granules[i].hollow_run = run;
    }
    hak_run_hollow(ledger, run, run_records(cls));
    return count;
}

void hak_ledger_hollowed(uintptr_t superslab, uint32_t mask) {
    hak_ledger_region *ledger = &hak_ledger[hak_region_find(superslab)->index];
    hak_granule *granules = &ledger->granules[(superslab - ledger->base) >> HAK_GRANULE_SHIFT];
    for (unsigned i = 0; i < HAK_SUPERSLAB_GRANULES;)
        i += (mask >> i & 1) != 0 && granules[i].run != NULL ? slab_hollowed(ledger, &granules[i]) : 1;
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

bool hak_ledger_was_slot(uintptr_t addr) {
    const hak_region *region = hak_region_find(addr);
    if (region == NULL || region->kind != HAK_REGION_SLABS || addr - region->base >= region->used)
        return false;
    const hak_granule *granule =
        &hak_ledger[region->index].granules[(addr - region->base) >> HAK_GRANULE_SHIFT];
    return granule->hollowed && ((uint32_t)addr & granule->mask) % granule->size == 0;
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
