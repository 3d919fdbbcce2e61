/* sweep.c: see sweep.h. */
#include "hardening/sweep.h"

#include "allocator/death.h"
#include "allocator/large.h"
#include "allocator/os.h"
#include "allocator/os_process.h"
#include "hardening/canary.h"
#include "hardening/crash_report.h"
#include "hardening/judge.h"
#include "hardening/sample.h"
#include "hardening/wipe.h"

enum {
    /* Slots looked at per refill: a refill of 8 to 32 objects costs some 300 ns. */
    STEP_SLOTS = 8,
    /* One step in so many looks at a sampled object instead, this many bytes before and after it. */
    SAMPLE_TURN = 8,
    SAMPLE_REACH = 64,
    LOOKS = 3,
    LOOK_PAUSE_MS = 1,
};

/* Most that is read at exit, so that a process with a huge heap still ends quickly: 128 MiB take some 20 ms. */
static const size_t EXIT_BYTES = (size_t)128 << 20;

/* One slot under inspection. */
typedef struct slot_view {
    const hak_record *record;
    uintptr_t start;
    size_t size;        /* bytes of the slot */
    uintptr_t from, to; /* the part that is looked at when all of it must be zero */
} slot_view;

static void report(const char *crime, hak_check check, const char *call, uintptr_t obj, const char *what,
                   const void *bad) {
    if (hak_mode_of(check) != HAK_MODE_OFF)
        hak_crime_report(&(hak_crime){
            .name = crime, .check = check, .call = call, .addr = obj, .what = what, .bad = (uintptr_t)bad});
}

/* The first wrong byte of a live object's slot; NULL: none. */
HAK_PEEKS static const unsigned char *live_wrong(slot_view slot, size_t size) {
    const unsigned char *end = (const unsigned char *)slot.start + size;
    if (!hak_hardening.canary)
        return NULL;
    if (!hak_canary_intact((void *)slot.start, size))
        return hak_canary_find((void *)slot.start, size);
    if (!hak_hardening.verify)
        return NULL;
    return hak_wipe_find(end + HAK_CANARY_BYTES, slot.size - size - HAK_CANARY_BYTES);
}

HAK_PEEKS static const unsigned char *wrong(slot_view slot, uint32_t word) {
    switch (hak_record_state(word)) {
    case HAK_SLOT_LIVE:
        return live_wrong(slot, hak_record_size(word));
    case HAK_SLOT_UNUSED:
    case HAK_SLOT_FREED:
        return hak_hardening.verify ? hak_wipe_find((void *)slot.from, slot.to - slot.from) : NULL;
    case HAK_SLOT_HELD:
        break;
    }
    return NULL;
}

/* `patient`: at exit, when other threads may be in the middle of something for long. */
static void check_slot(slot_view slot, const char *call, bool patient) {
    uint32_t word = hak_record_load(slot.record);
    const unsigned char *bad = wrong(slot, word);
    for (int i = 0; bad != NULL && i < LOOKS; i++) {
        if (patient)
            hak_os_sleep(LOOK_PAUSE_MS);
        if (hak_record_load(slot.record) != word)
            return;
        bad = wrong(slot, word);
    }
    if (bad == NULL)
        return;
    switch (hak_record_state(word)) {
    case HAK_SLOT_LIVE:
        report(HAK_CRIME_OVERFLOW, HAK_CHECK_SWEEP, call, slot.start,
               "bytes past the end of the object were overwritten", bad);
        break;
    case HAK_SLOT_FREED:
        report(HAK_CRIME_WRITE, HAK_CHECK_SWEEP, call, slot.start, "bytes of a freed object were overwritten",
               bad);
        break;
    default:
        report(HAK_CRIME_OVERFLOW, HAK_CHECK_SWEEP, call, slot.start,
               "memory between objects, not given out yet, was overwritten", bad);
    }
}

static slot_view view(const hak_record *run, uintptr_t slab, const hak_class_info *info, uint32_t slot) {
    uintptr_t start = slab + (uintptr_t)slot * info->size;
    return (slot_view){run + slot, start, info->size, start, start + info->size};
}

/* The state that has the number; NULL: none. */
static const hak_guarded *owner_of(uint32_t word) {
    uint32_t number = word >> HAK_RECORD_OWNER_SHIFT & (HAK_RECORD_OWNERS - 1);
    const hak_guarded *guarded = atomic_load_explicit(&hak_guarded_all, memory_order_acquire);
    while (guarded != NULL && guarded->owner != number)
        guarded = guarded->next;
    return guarded;
}

static bool check_sample(const hak_sample *sample, size_t reach, const char *call, bool patient) {
    const unsigned char *bad;
    for (int i = 0; !hak_sample_look(sample, reach, &bad) && patient && i < LOOKS; i++)
        hak_os_sleep(LOOK_PAUSE_MS);
    if (bad != NULL)
        report((uintptr_t)bad < sample->obj ? HAK_CRIME_UNDERFLOW : HAK_CRIME_OVERFLOW, HAK_CHECK_SWEEP, call,
               sample->obj, "bytes around the object were overwritten", bad);
    return bad != NULL;
}

void hak_sweep_sample(hak_guarded *mine) {
    hak_sample *sample =
        hak_mode_of(HAK_CHECK_SWEEP) != HAK_MODE_OFF ? hak_sample_next(&mine->sweep_sample) : NULL;
    if (sample != NULL && !sample->told)
        sample->told = check_sample(sample, SAMPLE_REACH, "sweep", false);
}

/* Steps over what is no slab. The region is the one that is asked first: the only one where addresses are plentiful. */
void hak_sweep_step(hak_guarded *mine) {
    const hak_ledger_region *region = &hak_ledger_first;
    if (region->size == 0 || mine->owner == 0 || hak_mode_of(HAK_CHECK_SWEEP) == HAK_MODE_OFF)
        return;
    if (mine->sweep_turn++ % SAMPLE_TURN == 0) {
        hak_sweep_sample(mine);
        return;
    }
    uintptr_t at = mine->sweep_at;
    size_t used =
        hak_regions[0].base == region->base ? hak_regions[0].used : hak_region_find(region->base)->used;
    if (at - region->base >= used)
        at = region->base;
    for (int i = 0; i < STEP_SLOTS; i++) {
        unsigned cls = hak_tag_of((void *)at);
        const hak_record *run = region->granules[(at - region->base) >> HAK_GRANULE_SHIFT].run;
        if (cls - 1u >= HAK_CLASSES || run == NULL) {
            at = hak_align_down(at, HAK_GRANULE) + HAK_GRANULE;
            break;
        }
        const hak_class_info *info = &hak_classes[cls];
        uintptr_t slab = hak_slab_start(cls, at);
        uint32_t slot = (uint32_t)((at - slab + info->size - 1) / info->size);
        if (slot >= info->slots) {
            at = slab + info->slab_bytes;
            break;
        }
        uint32_t word = hak_record_load(run + slot);
        bool own = hak_record_state(word) == HAK_SLOT_FREED &&
                   (word >> HAK_RECORD_OWNER_SHIFT & (HAK_RECORD_OWNERS - 1)) == mine->owner;
        if (own || hak_record_state(word) == HAK_SLOT_LIVE)
            check_slot(view(run, slab, info, slot), "sweep", false);
        at = slab + (uintptr_t)(slot + 1) * info->size;
    }
    mine->sweep_at = at;
}

/* The slots that lie in the resident page, or begin in it; live ones once, of the others what is in the page. `done`: slots
 * below were seen. */
static uint32_t sweep_page(const hak_record *run, uintptr_t slab, const hak_class_info *info, size_t page,
                           uint32_t done) {
    uint32_t slot = (uint32_t)(page / info->size);
    for (; slot < info->slots && (size_t)slot * info->size < page + hak_os_page; slot++) {
        uint32_t word = hak_record_load(run + slot);
        bool live = hak_record_state(word) == HAK_SLOT_LIVE;
        const hak_guarded *owner = hak_record_state(word) == HAK_SLOT_FREED ? owner_of(word) : NULL;
        if ((live && slot < done) || (owner != NULL && owner->lost))
            continue;
        slot_view seen = view(run, slab, info, slot);
        seen.from = hak_max(seen.from, slab + page);
        seen.to = hak_min(seen.to, slab + page + hak_os_page);
        check_slot(seen, "exit", true);
    }
    return slot;
}

/* Only what is resident: to read the rest would be to have it mapped. */
static size_t sweep_slab(const hak_record *run, uintptr_t slab, const hak_class_info *info) {
    size_t pages = info->slab_bytes / hak_os_page, seen = 0;
    uint32_t done = 0;
    for (size_t first = 0; first < pages; first += 64) {
        unsigned some = (unsigned)hak_min(64, pages - first);
        uint64_t resident = hak_os_resident(slab + first * hak_os_page, some);
        for (; resident != 0; resident &= resident - 1, seen += hak_os_page)
            done = sweep_page(run, slab, info, (first + hak_lowest_bit(resident)) * hak_os_page, done);
    }
    return seen;
}

/* Where the OS may not be asked what is resident: what the program has or had. */
static size_t sweep_used(const hak_record *run, uintptr_t slab, const hak_class_info *info) {
    size_t seen = 0;
    for (uint32_t slot = 0; slot < info->slots; slot++) {
        uint32_t word = hak_record_load(run + slot);
        const hak_guarded *owner = hak_record_state(word) == HAK_SLOT_FREED ? owner_of(word) : NULL;
        if (hak_record_state(word) != HAK_SLOT_LIVE && (owner == NULL || owner->lost))
            continue;
        check_slot(view(run, slab, info, slot), "exit", true);
        seen += info->size;
    }
    return seen;
}

/* A granule that no slab has had: what was written there went down from the first slot of the slab after it, or up from a slab
 * before it. */
static size_t sweep_gap(uintptr_t granule) {
    size_t seen = 0;
    uint64_t resident = hak_os_resident(granule, (unsigned)(HAK_GRANULE / hak_os_page));
    for (; resident != 0 && hak_hardening.verify; resident &= resident - 1, seen += hak_os_page) {
        uintptr_t page = granule + hak_lowest_bit(resident) * hak_os_page;
        const unsigned char *bad = hak_wipe_find((void *)page, hak_os_page);
        if (bad != NULL)
            report(HAK_CRIME_OVERFLOW, HAK_CHECK_SWEEP, "exit", (uintptr_t)bad,
                   "memory between objects, not given out yet, was overwritten", bad);
    }
    return seen;
}

static void sweep_slabs(const hak_region *region, size_t *left) {
    const hak_ledger_region *ledger = &hak_ledger[region->index];
    bool known = hak_os_resident_known();
    for (uintptr_t at = region->base; at < region->base + region->used && *left != 0;) {
        unsigned cls = hak_tag_of((void *)at);
        const hak_record *run = ledger->granules[(at - ledger->base) >> HAK_GRANULE_SHIFT].run;
        if (cls - 1u >= HAK_CLASSES || run == NULL) {
            *left -= known ? hak_min(*left, sweep_gap(at)) : 0;
            at += HAK_GRANULE;
            continue;
        }
        const hak_class_info *info = &hak_classes[cls];
        *left -= hak_min(*left, known ? sweep_slab(run, at, info) : sweep_used(run, at, info));
        at += info->slab_bytes;
    }
}

static void sweep_large(const hak_region *region) {
    const hak_ledger_region *ledger = &hak_ledger[region->index];
    size_t granules = region->used >> HAK_GRANULE_SHIFT;
    for (size_t i = 0; i < granules; i++) {
        const hak_large_record *record = &ledger->large[i];
        uintptr_t obj = region->base + (i << HAK_GRANULE_SHIFT);
        if (hak_record_state(record->word) != HAK_SLOT_LIVE || !hak_hardening.canary ||
            hak_tag_of((void *)obj) != HAK_TAG_LARGE)
            continue;
        uint32_t word = record->word;
        const unsigned char *bad = hak_judge_large_overflow((void *)obj, record);
        for (int look = 0; bad != NULL && look < LOOKS && record->word == word; look++) {
            hak_os_sleep(LOOK_PAUSE_MS);
            bad = record->word == word ? hak_judge_large_overflow((void *)obj, record) : NULL;
        }
        if (bad != NULL)
            report(HAK_CRIME_OVERFLOW, HAK_CHECK_SWEEP, "exit", obj,
                   "bytes past the end of the object were overwritten", bad);
    }
}

/* What two threads have freed at once is in two rings, and one of them has not written its number. */
static void sweep_rings(void) {
    const hak_guarded *guarded = atomic_load_explicit(&hak_guarded_all, memory_order_acquire);
    for (; guarded != NULL; guarded = guarded->next)
        for (unsigned cls = 1; cls <= HAK_CLASSES && !guarded->lost; cls++) {
            const hak_ring *ring = &guarded->rings[cls];
            for (uint32_t i = 0; i < ring->limit; i++) {
                void *obj = ring->slots[i];
                hak_place place;
                if (obj == NULL || !hak_ledger_find(obj, &place))
                    continue;
                uint32_t word = hak_record_load(place.record);
                uint32_t owner = word >> HAK_RECORD_OWNER_SHIFT & (HAK_RECORD_OWNERS - 1);
                if (!guarded->in_use || guarded == hak_guarded_mine)
                    if (hak_record_state(word) != HAK_SLOT_FREED || owner != guarded->owner)
                        report(HAK_CRIME_DOUBLE_FREE, HAK_CHECK_FREE, "exit", (uintptr_t)obj,
                               "two threads have freed the object at once", NULL);
            }
        }
}

static void check_whole_sample(const hak_sample *sample) {
    (void)check_sample(sample, HAK_SAMPLE_MAX, "exit", true);
}

void hak_sweep_all(void) {
    if (hak_mode_of(HAK_CHECK_SWEEP) == HAK_MODE_OFF)
        return;
    size_t left = EXIT_BYTES;
    unsigned used = atomic_load_explicit(&hak_regions_used, memory_order_acquire);
    sweep_rings();
    hak_sample_each(check_whole_sample);
    for (unsigned i = 0; i < used; i++) {
        if (hak_regions[i].size == 0)
            continue;
        if (hak_regions[i].kind == HAK_REGION_SLABS)
            sweep_slabs(&hak_regions[i], &left);
        else
            sweep_large(&hak_regions[i]);
    }
}

__attribute__((destructor(101))) static void process_exits(void) {
    if (!hak_death_at_exit())
        hak_sweep_all();
}
