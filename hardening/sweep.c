/* sweep.c: checks a few slots at each refill; has the functions that the sweep at exit shares. See sweep.h and
 * sweep_own.h. */
#include "hardening/sweep_own.h"

#include "hardening/crash_report.h"
#include "hardening/exits.h"
#include "hardening/inherit.h"
#include "hardening/verify_large.h"

enum {
    /* Slots to check per refill: a refill of 8 to 32 objects costs some 300 ns. */
    STEP_SLOTS = 8,
    /* One step in this many checks a sampled object instead. */
    SAMPLE_TURN = 8,
};

void hak_sweep_report(const char *error, hak_check check, const char *call, uintptr_t obj, const char *what,
                      const void *bad) {
    if (hak_mode_of(check) != HAK_MODE_OFF)
        hak_error_report(&(hak_error){
            .name = error, .check = check, .call = call, .addr = obj, .what = what, .bad = (uintptr_t)bad});
}

void hak_sweep_check_slot(const hak_view *slot, const char *call) {
    uint32_t word;
    const unsigned char *bad = hak_look(slot, &word);
    if (bad == NULL)
        return;
    switch (hak_record_state(hak_ledger_word(slot->start, word))) {
    case HAK_SLOT_LIVE:
        hak_sweep_report(HAK_ERROR_OVERFLOW, HAK_CHECK_SWEEP, call, slot->start,
                         "bytes past the end of the object were overwritten", bad);
        break;
    case HAK_SLOT_FREED:
        hak_sweep_report(HAK_ERROR_WRITE, HAK_CHECK_SWEEP, call, slot->start,
                         "bytes of a freed object were overwritten", bad);
        break;
    default:
        hak_sweep_report(HAK_ERROR_OVERFLOW, HAK_CHECK_SWEEP, call, slot->start,
                         "memory between objects, not given out yet, was overwritten", bad);
    }
}

bool hak_sweep_slab_at(const hak_ledger_region *ledger, uintptr_t addr, hak_sweep_slab *out) {
    const hak_granule *granule = &ledger->granules[(addr - ledger->base) >> HAK_GRANULE_SHIFT];
    const hak_record *run = atomic_load_explicit(&granule->run, memory_order_acquire);
    if (run == NULL || hak_tag_glance(addr) - 1u >= HAK_CLASSES) /* no class in the tag: hollow */
        return false;
    *out = (hak_sweep_slab){run, addr & ~(uintptr_t)granule->mask, &hak_classes[granule->cls], granule->cls};
    return true;
}

bool hak_sweep_check_sample(const hak_sample *sample, size_t reach, const char *call, bool patient) {
    const unsigned char *bad;
    while (!hak_sample_look(sample, reach, &bad) && patient && hak_sweep_pause()) {
    }
    if (bad != NULL)
        hak_sweep_report((uintptr_t)bad < sample->obj ? HAK_ERROR_UNDERFLOW : HAK_ERROR_OVERFLOW,
                         HAK_CHECK_SWEEP, call, sample->obj, "bytes around the object were overwritten", bad);
    return bad != NULL;
}

void hak_sweep_sample(hak_guarded *mine) {
    hak_sample *sample =
        hak_mode_of(HAK_CHECK_SWEEP) != HAK_MODE_OFF ? hak_sample_next(&mine->sweep_sample) : NULL;
    if (sample != NULL && !sample->told)
        sample->told = hak_sweep_check_sample(sample, HAK_SWEEP_SAMPLE_REACH, "sweep", false);
}

/* hak_sweep_running: true when another thread of this process is in a sweep, or this thread in the sweep at exit.
 * Memory that a sweep may read stays mapped. */
_Atomic bool hak_sweep_exits;
bool hak_sweep_running(void) {
    /* pairs with hak_sweep_begin: the sweep sees that the tags are gone, or we see the sweep */
    atomic_thread_fence(memory_order_seq_cst);
    /* acquire: pairs with the releases at the end of a sweep, so all its reads are done */
    bool running = atomic_load_explicit(&hak_sweep_exits, memory_order_acquire);
    const hak_guarded *guarded = atomic_load_explicit(&hak_guarded_all, memory_order_acquire);
    for (; guarded != NULL && !running; guarded = guarded->next)
        running = atomic_load_explicit(&guarded->sweeps, memory_order_acquire);
    return running;
}

/* The child has no other threads, so no other sweeps. */
void hak_sweep_fork_child(void) {
    atomic_store_explicit(&hak_sweep_exits, false, memory_order_relaxed);
    hak_guarded *guarded = atomic_load_explicit(&hak_guarded_all, memory_order_relaxed);
    for (; guarded != NULL; guarded = guarded->next)
        atomic_store_explicit(&guarded->sweeps, false, memory_order_relaxed);
}

void hak_sweep_reset(void) {
    atomic_store(&hak_verify_large_sweep, false);
    atomic_store_explicit(&hak_sweep_exits, false, memory_order_release);
}

void hak_sweep_begin(_Atomic bool *sweeps) {
    atomic_store_explicit(sweeps, true, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
}

/* Checks the slot at or after the address, if it is live or `mine` has freed it. Returns the address of the next
 * slot. *more: false when there was no slot to check. */
static uintptr_t step(const hak_guarded *mine, const hak_ledger_region *region, uintptr_t at, bool *more) {
    hak_sweep_slab slab;
    *more = hak_sweep_slab_at(region, at, &slab);
    if (!*more)
        return hak_align_down(at, HAK_GRANULE) + HAK_GRANULE;
    uint32_t slot = (uint32_t)((at - slab.start + slab.info->size - 1) / slab.info->size);
    *more = slot < slab.info->slots;
    if (!*more)
        return slab.start + slab.info->slab_bytes;
    uint32_t word = hak_record_load(slab.run + slot);
    bool own = hak_record_state(word) == HAK_SLOT_FREED &&
               (hak_sweep_owner(word) == mine->owner ||
                (mine->other != NULL && hak_sweep_owner(word) == mine->other->owner));
    hak_view view = hak_sweep_slot(&slab, slot);
    if (own || hak_record_state(word) == HAK_SLOT_LIVE)
        hak_sweep_check_slot(&view, "sweep");
    return view.start + view.size;
}

/* Steps over granules without a slab. Uses only the first region of slabs: there is one only where address space is
 * plentiful. */
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
    hak_sweep_begin(&mine->sweeps);
    some_steps(mine);
    atomic_store_explicit(&mine->sweeps, false, memory_order_release);
}
