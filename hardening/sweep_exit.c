/* sweep_exit.c: the checks at the end of a process: every resident page, large and sampled objects, quarantines; see
 * sweep.h. */
#include "hardening/sweep_own.h"

#include "allocator/heap/large.h"
#include "allocator/os/death.h"
#include "allocator/os/os.h"
#include "allocator/os/os_process.h"
#include "hardening/common.h"
#include "hardening/exits.h"
#include "hardening/inherit.h"
#include "hardening/marks.h"
#include "hardening/mte.h"
#include "hardening/stain.h"
#include "hardening/verify_large.h"

enum {
    /* The sweep at exit waits this often in all, for this long each, for locks that other threads hold. Then it
     * leaves out what they guard. */
    PAUSES = 40,
    PAUSE_MS = 1,
    /* Granules of large objects to check with the lock held: some 2 us. */
    LARGE_BATCH = 256,
    /* Places of the common rings to check with the lock held. */
    COMMON_BATCH = 256,
};

/* The most that the sweep at exit does, so that a process with a huge heap, or many threads, still ends quickly. */
typedef struct budget {
    size_t bytes;    /* of slabs: 128 MiB take some 20 ms */
    size_t rings;    /* places of quarantines: each costs a cache miss */
    size_t granules; /* of large objects */
} budget;
static const budget FIRST_PROCESS = {(size_t)128 << 20, 1 << 16, (size_t)1 << 22};
/* A child of a process with a large heap has made few objects itself, and servers make many children. */
static const budget FORKED_CHILD = {(size_t)2 << 20, 1 << 11, 1 << 12};

static unsigned pauses; /* pauses left to the sweep at exit */

bool hak_sweep_pause(void) {
    if (pauses == 0)
        return false;
    pauses--;
    hak_os_sleep(PAUSE_MS);
    return true;
}

/* Checks the slots that lie in the resident page, or begin in it: each live slot once, of other slots only the bytes
 * in the page. `done`: slots below this one were checked. Returns the next value of `done`. */
static uint32_t sweep_page(const hak_sweep_slab *slab, size_t page, uint32_t done) {
    size_t size = slab->info->size;
    uint32_t slot = (uint32_t)(page / size);
    for (; slot < slab->info->slots && (size_t)slot * size < page + hak_os_page; slot++) {
        if (hak_record_state(hak_record_load(slab->run + slot)) == HAK_SLOT_LIVE && slot < done)
            continue;
        hak_view seen = hak_sweep_slot(slab, slot);
        seen.from = hak_max(seen.from, slab->start + page);
        seen.to = hak_min(seen.to, slab->start + page + hak_os_page);
        hak_sweep_check_slot(&seen, "exit");
    }
    return slot;
}

/* Returns one bit for each of up to 64 pages at `at`, of a region of slabs, that is resident. Leaves out hollow
 * granules: about a range with unmapped pages the OS answers only page by page. */
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

/* Checks resident pages only, because a read would make the others resident. */
static size_t sweep_slab(const hak_sweep_slab *slab) {
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

/* Checks live and freed slots, where the process may not ask the OS what is resident. */
static size_t sweep_used(const hak_sweep_slab *slab) {
    size_t seen = 0;
    for (uint32_t slot = 0; slot < slab->info->slots; slot++) {
        hak_slot_state state = hak_record_state(hak_record_load(slab->run + slot));
        hak_view view = hak_sweep_slot(slab, slot);
        if (state != HAK_SLOT_LIVE && state != HAK_SLOT_FREED)
            continue;
        hak_sweep_check_slot(&view, "exit");
        seen += view.size;
    }
    return seen;
}

/* Checks a granule that no slab has used. Bytes that are not zero were written down from the first slot of the slab
 * after it, or up from a slab before it, unless another thread has made a slab there meanwhile. */
static bool gaps; /* they may be read: no thread unmaps them */
static size_t sweep_gap(const hak_ledger_region *ledger, uintptr_t granule) {
    size_t seen = 0;
    uint64_t resident = gaps ? resident_at(granule, (unsigned)(HAK_GRANULE / hak_os_page)) : 0;
    for (; resident != 0 && hak_hardening.verify; resident &= resident - 1, seen += hak_os_page) {
        uintptr_t page = granule + hak_lowest_bit(resident) * hak_os_page;
        const unsigned char *bad = hak_stain_find((void *)page, hak_os_page);
        hak_sweep_slab slab;
        atomic_thread_fence(memory_order_acquire); /* the bytes before the run */
        if (bad != NULL && !hak_sweep_slab_at(ledger, granule, &slab))
            hak_sweep_report(HAK_ERROR_OVERFLOW, HAK_CHECK_SWEEP, "exit", (uintptr_t)bad,
                             "memory between objects, not given out yet, was overwritten", bad);
    }
    return seen;
}

/* Where the part of the region begins that a sweep may check. */
static uintptr_t first_of(const hak_region *region) {
    return region->base + (hak_inherit_unsure ? hak_ledger[region->index].inherited : 0);
}

static void sweep_range(const hak_ledger_region *ledger, uintptr_t at, uintptr_t end, budget *left) {
    bool known = hak_os_resident_known();
    while (at < end && left->bytes != 0) {
        hak_sweep_slab slab;
        size_t seen;
        if (hak_sweep_slab_at(ledger, at, &slab)) {
            seen = known ? sweep_slab(&slab) : sweep_used(&slab);
            at = slab.start + slab.info->slab_bytes;
        } else {
            seen = known ? sweep_gap(ledger, at) : 0;
            at += HAK_GRANULE;
        }
        left->bytes -= hak_min(left->bytes, seen);
    }
}

/* In a child, checks first what is new. */
static void sweep_slabs(const hak_region *region, budget *left) {
    const hak_ledger_region *ledger = &hak_ledger[region->index];
    uintptr_t own = region->base + ledger->inherited;
    sweep_range(ledger, own, region->base + region->used, left);
    sweep_range(ledger, first_of(region), own, left);
}

/* False: the lock is not free soon, or never: the process may exit in a signal handler that has interrupted its
 * holder. */
static bool lock_soon(hak_lock *lock) {
    while (!hak_lock_try(lock))
        if (!hak_sweep_pause())
            return false;
    return true;
}

/* Returns the first wrong byte at the end of a live object that no thread is resizing; NULL: none. The caller holds
 * the lock under which spans change their owner: see large_wait in verify_large.c. */
static const unsigned char *large_wrong(uintptr_t obj, const hak_large_record *record) {
    if (hak_record_state(__atomic_load_n(&record->word, __ATOMIC_SEQ_CST)) != HAK_SLOT_LIVE ||
        hak_large_capacity((void *)obj) != hak_ledger_large_pages(record))
        return NULL;
    return hak_verify_large_overflow((void *)obj, record);
}

/* Checks one batch of objects from granule `*at` on, until one is wrong. NULL: none is. *at: where to go on. */
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

/* Does not hold the lock during a report, because a handler of SIGABRT may allocate. */
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
            hak_sweep_report(HAK_ERROR_OVERFLOW, HAK_CHECK_SWEEP, "exit", obj,
                             "bytes past the end of the object were overwritten", bad);
    }
}

/* An object that two threads have freed at once is in two rings, and the record has the number of only one of them.
 * Leaves out states that a thread has. A state that no thread had before and after (`uses` even and equal) has not
 * changed meanwhile. */
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
        /* nobody: it came back from a common ring */
        bool its = hak_sweep_owner(word) == guarded->owner || hak_sweep_owner(word) == 0;
        if ((hak_record_state(word) != HAK_SLOT_FREED || !its) &&
            (mine || atomic_load_explicit(&guarded->uses, memory_order_relaxed) == uses))
            hak_sweep_report(HAK_ERROR_DOUBLE_FREE, HAK_CHECK_FREE, "exit", (uintptr_t)obj,
                             "two threads have freed the object at once", NULL);
    }
}

static void sweep_state(const hak_guarded *guarded, budget *left) {
    for (unsigned cls = 1; cls <= HAK_CLASSES && left->rings != 0; cls++) {
        sweep_ring(guarded, cls, left->rings);
        left->rings -= hak_min(left->rings, HAK_GLANCE(guarded->rings[cls].limit));
    }
}

/* Checks the rings of the calling thread, then those of the others. A child does not check states of threads that it
 * does not have. */
static void sweep_rings(budget *left) {
    sweep_state(hak_guarded_mine, left);
    const hak_guarded *guarded = atomic_load_explicit(&hak_guarded_all, memory_order_acquire);
    for (; guarded != NULL && left->rings != 0 && hak_forks == 0; guarded = guarded->next)
        if (guarded != hak_guarded_mine)
            sweep_state(guarded, left);
}

/* A slot in a common ring is freed by nobody, unless another thread has freed it again. The lock is not held during a
 * report. */
static void sweep_common(budget *left) {
    hak_common_place place = {.cls = 1};
    while (left->rings != 0 && hak_common_next(&place)) {
        size_t batch = hak_min(left->rings, COMMON_BATCH), rest = batch;
        hak_lock *lock = hak_common_place_lock(&place);
        if (!lock_soon(lock))
            return;
        void *obj = hak_common_wrong(&place, &rest);
        hak_lock_give(lock);
        left->rings -= batch - rest;
        if (obj != NULL)
            hak_sweep_report(HAK_ERROR_DOUBLE_FREE, HAK_CHECK_FREE, "exit", (uintptr_t)obj,
                             "two threads have freed the object at once", NULL);
    }
}

static void check_whole_sample(const hak_sample *sample) {
    (void)hak_sweep_check_sample(sample, HAK_SAMPLE_MAX, "exit", true);
}
static void check_some_sample(const hak_sample *sample) {
    (void)hak_sweep_check_sample(sample, HAK_SWEEP_SAMPLE_REACH, "exit", false);
}

static void sweep_all(void) {
    if (hak_mode_of(HAK_CHECK_SWEEP) == HAK_MODE_OFF || hak_inherit_unseen())
        return;
    hak_sweep_begin(&hak_sweep_exits);
    budget left = hak_forks == 0 ? FIRST_PROCESS : FORKED_CHILD;
    pauses = PAUSES;
    /* Threads that hollow free memory are done once we had the lock; later ones see the sweep. */
    gaps = lock_soon(&hak_superslab_lock);
    if (gaps)
        hak_lock_give(&hak_superslab_lock);
    unsigned used = atomic_load_explicit(&hak_regions_used, memory_order_acquire);
    sweep_rings(&left);
    sweep_common(&left);
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

void hak_sweep_all(void) {
    uint64_t before = hak_mte_pause();
    sweep_all();
    hak_mte_resume(before);
}

__attribute__((destructor(101))) static void process_exits(void) {
    if (!hak_death_at_exit())
        hak_sweep_all();
    atomic_store(&hak_exits_over, true);
}
