/* sweep.c: see sweep.h. */
#include "hardening/sweep.h"

#include "allocator/heap/large.h"
#include "allocator/os/death.h"
#include "allocator/os/os.h"
#include "allocator/os/os_process.h"
#include "hardening/crash_report.h"
#include "hardening/exits.h"
#include "hardening/inherit.h"
#include "hardening/look.h"
#include "hardening/marks.h"
#include "hardening/sample.h"
#include "hardening/stain.h"
#include "hardening/verify_large.h"
#include "hardening/wipe.h"

enum {
    /* Slots looked at per refill: a refill of 8 to 32 objects costs some 300 ns. */
    STEP_SLOTS = 8,
    /* One step in so many looks at a sampled object instead, this many bytes before and after it. */
    SAMPLE_TURN = 8,
    SAMPLE_REACH = 64,
    /* At exit, for locks that another thread has: so often in all, so long; then the sweep does without what they
     * guard. */
    PAUSES = 40,
    PAUSE_MS = 1,
    /* Granules of large objects that are looked at with the lock held: some 2 us. */
    LARGE_BATCH = 256,
};

/* The most that is done at exit, so that a process with a huge heap, or many threads, still ends quickly. */
typedef struct budget {
    size_t bytes;    /* of slabs: 128 MiB take some 20 ms */
    size_t rings;    /* places of quarantines: each costs a cache miss */
    size_t granules; /* of large objects */
} budget;
static const budget FIRST_PROCESS = {(size_t)128 << 20, 1 << 16, (size_t)1 << 22};
/* A child of a process with a large heap has done little of its own, and servers make many children. */
static const budget FORKED_CHILD = {(size_t)2 << 20, 1 << 11, 1 << 12};

static void report(const char *error, hak_check check, const char *call, uintptr_t obj, const char *what,
                   const void *bad) {
    if (hak_mode_of(check) != HAK_MODE_OFF)
        hak_error_report(&(hak_error){
            .name = error, .check = check, .call = call, .addr = obj, .what = what, .bad = (uintptr_t)bad});
}

static void check_slot(const hak_view *slot, const char *call) {
    uint32_t word;
    const unsigned char *bad = hak_look(slot, &word);
    if (bad == NULL)
        return;
    switch (hak_record_state(hak_ledger_word(slot->start, word))) {
    case HAK_SLOT_LIVE:
        report(HAK_ERROR_OVERFLOW, HAK_CHECK_SWEEP, call, slot->start,
               "bytes past the end of the object were overwritten", bad);
        break;
    case HAK_SLOT_FREED:
        report(HAK_ERROR_WRITE, HAK_CHECK_SWEEP, call, slot->start,
               "bytes of a freed object were overwritten", bad);
        break;
    default:
        report(HAK_ERROR_OVERFLOW, HAK_CHECK_SWEEP, call, slot->start,
               "memory between objects, not given out yet, was overwritten", bad);
    }
}

/* A slab, as its granules' entries in the ledger say. */
typedef struct slab_view {
    const hak_record *run;
    uintptr_t start;
    const hak_class_info *info;
    unsigned cls;
} slab_view;

/* The slab at the address; false when none ever was. */
static bool slab_at(const hak_ledger_region *ledger, uintptr_t addr, slab_view *out) {
    const hak_granule *granule = &ledger->granules[(addr - ledger->base) >> HAK_GRANULE_SHIFT];
    const hak_record *run = atomic_load_explicit(&granule->run, memory_order_acquire);
    if (run == NULL || hak_tag_glance(addr) - 1u >= HAK_CLASSES) /* the latter: hollow */
        return false;
    *out = (slab_view){run, addr & ~(uintptr_t)granule->mask, &hak_classes[granule->cls], granule->cls};
    return true;
}

static hak_view slot_of(const slab_view *slab, uint32_t slot) {
    uintptr_t start = slab->start + (uintptr_t)slot * slab->info->size;
    return (hak_view){slab->run + slot, start, slab->info->size, start, start + slab->info->size, slab->cls};
}

static unsigned pauses; /* that are left to the sweep at exit */

/* False: enough was waited. */
static bool pause_once(void) {
    if (pauses == 0)
        return false;
    pauses--;
    hak_os_sleep(PAUSE_MS);
    return true;
}

static uint32_t owner_of(uint32_t word) {
    return word >> HAK_RECORD_OWNER_SHIFT & (HAK_RECORD_OWNERS - 1);
}

static bool check_sample(const hak_sample *sample, size_t reach, const char *call, bool patient) {
    const unsigned char *bad;
    while (!hak_sample_look(sample, reach, &bad) && patient && pause_once()) {
    }
    if (bad != NULL)
        report((uintptr_t)bad < sample->obj ? HAK_ERROR_UNDERFLOW : HAK_ERROR_OVERFLOW, HAK_CHECK_SWEEP, call,
               sample->obj, "bytes around the object were overwritten", bad);
    return bad != NULL;
}

void hak_sweep_sample(hak_guarded *mine) {
    hak_sample *sample =
        hak_mode_of(HAK_CHECK_SWEEP) != HAK_MODE_OFF ? hak_sample_next(&mine->sweep_sample) : NULL;
    if (sample != NULL && !sample->told)
        sample->told = check_sample(sample, SAMPLE_REACH, "sweep", false);
}

/* Whether another thread of this process is in a sweep, or this one at exit. What it may read stays mapped. */
static _Atomic bool exits;
bool hak_sweep_running(void) {
    atomic_thread_fence(
        memory_order_seq_cst); /* pairs with sweep_begin: it sees the tags that are gone, or we see it */
    /* acquire: what a sweep that is over has read, it has read before; pairs with the releases at its end */
    bool running = atomic_load_explicit(&exits, memory_order_acquire);
    const hak_guarded *guarded = atomic_load_explicit(&hak_guarded_all, memory_order_acquire);
    for (; guarded != NULL && !running; guarded = guarded->next)
        running = atomic_load_explicit(&guarded->sweeps, memory_order_acquire);
    return running;
}

/* The others are not there. */
void hak_sweep_fork_child(void) {
    atomic_store_explicit(&exits, false, memory_order_relaxed);
    hak_guarded *guarded = atomic_load_explicit(&hak_guarded_all, memory_order_relaxed);
    for (; guarded != NULL; guarded = guarded->next)
        atomic_store_explicit(&guarded->sweeps, false, memory_order_relaxed);
}

void hak_sweep_reset(void) {
    atomic_store(&hak_verify_large_sweep, false);
    atomic_store_explicit(&exits, false, memory_order_release);
}

static void sweep_begin(_Atomic bool *sweeps) {
    atomic_store_explicit(sweeps, true, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
}

/* Looks at the slot at or after the address, if it is live or one that `mine` has freed. The address of the next
 * one. */
static uintptr_t step(const hak_guarded *mine, const hak_ledger_region *region, uintptr_t at, bool *more) {
    slab_view slab;
    *more = slab_at(region, at, &slab);
    if (!*more)
        return hak_align_down(at, HAK_GRANULE) + HAK_GRANULE;
    uint32_t slot = (uint32_t)((at - slab.start + slab.info->size - 1) / slab.info->size);
    *more = slot < slab.info->slots;
    if (!*more)
        return slab.start + slab.info->slab_bytes;
    uint32_t word = hak_record_load(slab.run + slot);
    bool own =
        hak_record_state(word) == HAK_SLOT_FREED &&
        (owner_of(word) == mine->owner || (mine->other != NULL && owner_of(word) == mine->other->owner));
    hak_view view = slot_of(&slab, slot);
    if (own || hak_record_state(word) == HAK_SLOT_LIVE)
        check_slot(&view, "sweep");
    return view.start + view.size;
}

/* Steps over what is no slab. The region is the one that is asked first: the only one where addresses are plentiful. */
static void some_steps(hak_guarded *mine) {
    const hak_ledger_region *region = &hak_ledger_first;
    if (region->size == 0 || mine->owner == 0 || hak_mode_of(HAK_CHECK_SWEEP) == HAK_MODE_OFF ||
        hak_exits_begun())
        return;
    if (mine->sweep_turn++ % SAMPLE_TURN == 0) {
        hak_sweep_sample(mine);
        return;
    }
    uintptr_t at = mine->sweep_at, first = region->base + (hak_inherit_unsure ? region->inherited : 0);
    size_t used =
        hak_regions[0].base == region->base ? hak_regions[0].used : hak_region_find(region->base)->used;
    if (at < first || at - region->base >= used)
        at = first;
    bool more = true;
    for (int i = 0; i < STEP_SLOTS && more && at - region->base < used; i++)
        at = step(mine, region, at, &more);
    mine->sweep_at = at;
}

void hak_sweep_step(hak_guarded *mine) {
    sweep_begin(&mine->sweeps);
    some_steps(mine);
    atomic_store_explicit(&mine->sweeps, false, memory_order_release);
}

/* The slots that lie in the resident page, or begin in it; live ones once, of the others what is in the page. `done`:
 * slots below were seen. */
static uint32_t sweep_page(const slab_view *slab, size_t page, uint32_t done) {
    size_t size = slab->info->size;
    uint32_t slot = (uint32_t)(page / size);
    for (; slot < slab->info->slots && (size_t)slot * size < page + hak_os_page; slot++) {
        if (hak_record_state(hak_record_load(slab->run + slot)) == HAK_SLOT_LIVE && slot < done)
            continue;
        hak_view seen = slot_of(slab, slot);
        seen.from = hak_max(seen.from, slab->start + page);
        seen.to = hak_min(seen.to, slab->start + page + hak_os_page);
        check_slot(&seen, "exit");
    }
    return slot;
}

/* Which of the up to 64 pages at `at` of a region of slabs are resident, a bit each; hollow granules are not asked for:
 * of what is not mapped the OS says nothing before it is asked page by page. */
static uint64_t resident_at(uintptr_t at, unsigned pages) {
    const unsigned each = (unsigned)(HAK_GRANULE / hak_os_page);
    hak_region *region = hak_region_around(at);
    if (region == NULL)
        return 0;
    const hak_superslab *superslab = hak_region_record(region, at);
    uint32_t hollow =
        HAK_GLANCE(superslab->hollow_mask) >> (at >> HAK_GRANULE_SHIFT) % HAK_SUPERSLAB_GRANULES;
    uint64_t bits = 0;
    if ((hollow & hak_ones32(0, pages / each)) == 0)
        return hak_os_resident(at, pages);
    for (unsigned i = 0; i < pages / each; i++)
        if ((hollow >> i & 1) == 0)
            bits |= hak_os_resident(at + i * (uintptr_t)HAK_GRANULE, each) << i * each;
    return bits;
}

/* Only what is resident: to read the rest would be to have it mapped. */
static size_t sweep_slab(const slab_view *slab) {
    size_t pages = slab->info->slab_bytes / hak_os_page, seen = hak_os_page;
    uint32_t done = 0;
    for (size_t first = 0; first < pages; first += 64) {
        unsigned some = (unsigned)hak_min(64, pages - first);
        uint64_t resident = resident_at(slab->start + first * hak_os_page, some);
        for (; resident != 0; resident &= resident - 1, seen += hak_os_page)
            done = sweep_page(slab, (first + hak_lowest_bit(resident)) * hak_os_page, done);
    }
    return seen;
}

/* Where the OS may not be asked what is resident: what the program has or had. */
static size_t sweep_used(const slab_view *slab) {
    size_t seen = 0;
    for (uint32_t slot = 0; slot < slab->info->slots; slot++) {
        hak_slot_state state = hak_record_state(hak_record_load(slab->run + slot));
        hak_view view = slot_of(slab, slot);
        if (state != HAK_SLOT_LIVE && state != HAK_SLOT_FREED)
            continue;
        check_slot(&view, "exit");
        seen += view.size;
    }
    return seen;
}

/* A granule that no slab has had: what was written there went down from the first slot of the slab after it, or up from
 * a slab before it. Unless another thread has made a slab there since. */
static bool gaps; /* nobody unmaps them */
static size_t sweep_gap(const hak_ledger_region *ledger, uintptr_t granule) {
    size_t seen = 0;
    uint64_t resident = gaps ? resident_at(granule, (unsigned)(HAK_GRANULE / hak_os_page)) : 0;
    for (; resident != 0 && hak_hardening.verify; resident &= resident - 1, seen += hak_os_page) {
        uintptr_t page = granule + hak_lowest_bit(resident) * hak_os_page;
        const unsigned char *bad = hak_stain_find((void *)page, hak_os_page);
        slab_view slab;
        atomic_thread_fence(memory_order_acquire); /* the bytes, then the run */
        if (bad != NULL && !slab_at(ledger, granule, &slab))
            report(HAK_ERROR_OVERFLOW, HAK_CHECK_SWEEP, "exit", (uintptr_t)bad,
                   "memory between objects, not given out yet, was overwritten", bad);
    }
    return seen;
}

/* Where the part of the region begins that may be looked at. */
static uintptr_t first_of(const hak_region *region) {
    return region->base + (hak_inherit_unsure ? hak_ledger[region->index].inherited : 0);
}

static void sweep_range(const hak_ledger_region *ledger, uintptr_t at, uintptr_t end, budget *left) {
    bool known = hak_os_resident_known();
    while (at < end && left->bytes != 0) {
        slab_view slab;
        size_t seen;
        if (slab_at(ledger, at, &slab)) {
            seen = known ? sweep_slab(&slab) : sweep_used(&slab);
            at = slab.start + slab.info->slab_bytes;
        } else {
            seen = known ? sweep_gap(ledger, at) : 0;
            at += HAK_GRANULE;
        }
        left->bytes -= hak_min(left->bytes, seen);
    }
}

/* In a child, first what is new. */
static void sweep_slabs(const hak_region *region, budget *left) {
    const hak_ledger_region *ledger = &hak_ledger[region->index];
    uintptr_t own = region->base + ledger->inherited;
    sweep_range(ledger, own, region->base + region->used, left);
    sweep_range(ledger, first_of(region), own, left);
}

/* False: it is not to be had soon, if at all: the process may exit in a signal handler that has interrupted its
 * holder. */
static bool lock_soon(hak_lock *lock) {
    while (!hak_lock_try(lock))
        if (!pause_once())
            return false;
    return true;
}

/* A live object that nobody is resizing, with the lock held under which spans change their owner: see large_wait in
 * verify_large.c. NULL: its end is as it should be. */
static const unsigned char *large_wrong(uintptr_t obj, const hak_large_record *record) {
    if (hak_record_state(__atomic_load_n(&record->word, __ATOMIC_SEQ_CST)) != HAK_SLOT_LIVE ||
        hak_large_capacity((void *)obj) != hak_ledger_large_pages(record))
        return NULL;
    return hak_verify_large_overflow((void *)obj, record);
}

/* From granule `*at` on, until there is something to tell, or for one batch. NULL: there is not. *at: where to go
 * on. */
static const unsigned char *large_batch(const hak_region *region, size_t *at, uintptr_t *obj) {
    const hak_ledger_region *ledger = &hak_ledger[region->index];
    size_t granules = region->used >> HAK_GRANULE_SHIFT, end = hak_min(granules, *at + LARGE_BATCH);
    const unsigned char *bad = NULL;
    for (; (*at = hak_marks_next(ledger, *at, end)) < end && bad == NULL; ++*at) {
        *obj = region->base + (*at << HAK_GRANULE_SHIFT);
        bad = large_wrong(*obj, &ledger->large[*at]);
    }
    return bad;
}

/* The lock is not held while something is told: a handler of SIGABRT may allocate. */
static void sweep_large(const hak_region *region, budget *left) {
    size_t at = (first_of(region) - region->base) >> HAK_GRANULE_SHIFT;
    while (hak_hardening.canary && left->granules != 0 && lock_soon(&hak_large_lock)) {
        uintptr_t obj;
        size_t from = at;
        bool done = region->size == 0 || at >= region->used >> HAK_GRANULE_SHIFT;
        const unsigned char *bad = done ? NULL : large_batch(region, &at, &obj);
        hak_lock_give(&hak_large_lock);
        if (done)
            return;
        left->granules -= hak_min(left->granules, at - from);
        if (bad != NULL)
            report(HAK_ERROR_OVERFLOW, HAK_CHECK_SWEEP, "exit", obj,
                   "bytes past the end of the object were overwritten", bad);
    }
}

/* What two threads have freed at once is in two rings, and one of them has not written its number. Rings of threads
 * that go on are not looked at: a state that nobody had before and after has not changed in between. */
static void sweep_ring(const hak_guarded *guarded, unsigned cls, size_t most) {
    const hak_ring *ring = &guarded->rings[cls];
    for (uint32_t i = 0; i < hak_min(HAK_GLANCE(ring->limit), most); i++) {
        uint32_t uses = atomic_load_explicit(&guarded->uses, memory_order_acquire);
        bool mine = guarded == hak_guarded_mine || guarded == hak_guarded_mine->other;
        hak_place place;
        if (!mine && uses % 2 != 0)
            return;
        void *obj = HAK_GLANCE(ring->slots[i]);
        if (obj == NULL || !hak_ledger_find(obj, &place))
            continue;
        uint32_t word = hak_record_load(place.record);
        atomic_thread_fence(memory_order_acquire);
        if ((hak_record_state(word) != HAK_SLOT_FREED || owner_of(word) != guarded->owner) &&
            (mine || atomic_load_explicit(&guarded->uses, memory_order_relaxed) == uses))
            report(HAK_ERROR_DOUBLE_FREE, HAK_CHECK_FREE, "exit", (uintptr_t)obj,
                   "two threads have freed the object at once", NULL);
    }
}

static void sweep_state(const hak_guarded *guarded, budget *left) {
    for (unsigned cls = 1; cls <= HAK_CLASSES && left->rings != 0; cls++) {
        sweep_ring(guarded, cls, left->rings);
        left->rings -= hak_min(left->rings, HAK_GLANCE(guarded->rings[cls].limit));
    }
}

/* The calling thread's own, then the others'; but a child looks at no state of a thread that it does not have. */
static void sweep_rings(budget *left) {
    sweep_state(hak_guarded_mine, left);
    const hak_guarded *guarded = atomic_load_explicit(&hak_guarded_all, memory_order_acquire);
    for (; guarded != NULL && left->rings != 0 && hak_forks == 0; guarded = guarded->next)
        if (guarded != hak_guarded_mine)
            sweep_state(guarded, left);
}

static void check_whole_sample(const hak_sample *sample) {
    (void)check_sample(sample, HAK_SAMPLE_MAX, "exit", true);
}
static void check_some_sample(const hak_sample *sample) {
    (void)check_sample(sample, SAMPLE_REACH, "exit", false);
}

void hak_sweep_all(void) {
    if (hak_mode_of(HAK_CHECK_SWEEP) == HAK_MODE_OFF || hak_inherit_unseen())
        return;
    sweep_begin(&exits);
    budget left = hak_forks == 0 ? FIRST_PROCESS : FORKED_CHILD;
    pauses = PAUSES;
    gaps = lock_soon(&hak_superslab_lock); /* who hollows free memory is done, and the next one sees us */
    if (gaps)
        hak_lock_give(&hak_superslab_lock);
    unsigned used = atomic_load_explicit(&hak_regions_used, memory_order_acquire);
    sweep_rings(&left);
    hak_sample_each(hak_forks == 0 ? check_whole_sample : check_some_sample);
    atomic_store(&hak_verify_large_sweep, true);
    for (unsigned i = 0; i < used; i++) {
        if (hak_regions[i].size == 0)
            continue;
        if (hak_regions[i].kind == HAK_REGION_SLABS)
            sweep_slabs(&hak_regions[i], &left);
        else
            sweep_large(&hak_regions[i], &left);
    }
    hak_sweep_reset();
}

__attribute__((destructor(101))) static void process_exits(void) {
    if (!hak_death_at_exit())
        hak_sweep_all();
    atomic_store(&hak_exits_over, true);
}
