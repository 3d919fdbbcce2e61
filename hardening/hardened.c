/* hardened.c: initializes the parts of the hardened variant in the order of their dependencies. */
#include "allocator/policy.h"

#include "allocator/os/os.h"
#include "allocator/os/os_process.h"
#include "allocator/os/valgrind.h"
#include "allocator/pages/release.h"
#include "hardening/ahead.h"
#include "hardening/common.h"
#include "hardening/guard.h"
#include "hardening/inherit.h"
#include "hardening/keep.h"
#include "hardening/mte_calls.h"
#include "hardening/ring.h"
#include "hardening/seal.h"
#include "hardening/sweep.h"
#include "hardening/verify_fault.h"

bool hak_harden_init(void (*give)(void *obj, unsigned cls)) {
    hak_hardening.give = give;
    /* Valgrind does not know calls newer than itself, and prints a warning for each. */
    if (!hak_os_filter_look() || hak_valgrind_runs())
        hak_os_filter_raise(HAK_FILTER_INHERITED);
    hak_modes_init();
    hak_inherit_start();
    (void)hak_wipe_choose(HAK_WIPE_WIDEST);
    bool faults = hak_mte_init();
    hak_canary_init();
    hak_typed_init();
    if (hak_hardening.guard || hak_hardening.sample_period != 0) {
        hak_guard_init();
        hak_sample_init();
        faults = true;
    }
    if (faults)
        hak_os_on_fault(hak_verify_fault);
    return true;
}

unsigned hak_harden_tag_slow(const void *obj) {
    if ((uintptr_t)obj >> HAK_ADDRESS_BITS != 0)
        return HAK_TAG_NONE;
    if (hak_region_find((uintptr_t)obj) == NULL)
        return HAK_TAG_NONE; /* the table has holes */
    return hak_tag_of(obj);
}

/* Called for an allocation that may become a sampled object. */
void *hak_harden_alloc_rare(void *obj, unsigned cls, size_t size, hak_origin origin, uintptr_t caller) {
    void *sampled = hak_sample_take_slow(obj, hak_class_behind(cls), size, origin, caller);
    if (sampled == NULL)
        return hak_harden_alloc_slow(obj, size, origin, caller);
    hak_sweep_sample(hak_guarded_mine);
    return sampled;
}

/* The complete path of an allocation: it also takes slots that were never used, or that have an owner. */
void *hak_harden_alloc_slow(void *obj, size_t size, hak_origin origin, uintptr_t caller) {
    /* gcc does not see that hak_stain_slot ends the process when the slot is not found */
    hak_place place = {0};
    bool found = hak_ledger_find(obj, &place);
    uint32_t word = found ? hak_ledger_word((uintptr_t)obj, hak_record_load(place.record)) : HAK_SLOT_HELD;
    if (HAK_UNLIKELY((word & 1) != 0)) /* live or held */
        hak_stain_slot(obj, caller);
    uint32_t live = hak_record_live(origin) | (uint32_t)size << HAK_RECORD_SIZE_SHIFT;
    if (word != HAK_SLOT_UNUSED)
        return hak_hardening.reuse(obj, size, place.record, live, place.size);
    /* Does not touch fresh memory. */
    return hak_wipe_reuse_unverified(obj, size, place.record, live, place.size);
}

void hak_harden_seal(void) {
    hak_seal_start();
}

void hak_harden_fork_child(void) {
    hak_inherit_begin();
    hak_quarantine_fork_child();
    hak_typed_fork_child();
    hak_sweep_fork_child();
    hak_sample_fork_child();
}

/* Does nothing when the request is much larger than what the quarantines hold: it would empty them in vain, and any
 * program input that chooses a size could ask for that. Large objects in quarantine have no memory, so they help only
 * where address space is scarce. */
bool hak_harden_reclaim(size_t size) {
    enum { TIMES = 4 };
    size_t held = atomic_load_explicit(&hak_quarantine_held, memory_order_relaxed) +
                  atomic_load_explicit(&hak_release_slabs_bare, memory_order_relaxed) +
                  atomic_load_explicit(&hak_common_held, memory_order_relaxed) +
                  (hak_guard_is_scarce() ? atomic_load_explicit(&hak_keep_bytes, memory_order_relaxed) : 0);
    if (held == 0 || size / TIMES > held)
        return false;
    hak_quarantine_flush();
    hak_typed_swapped(hak_quarantine_flush);
    hak_keep_flush();
    return true;
}

/* What was held before has no limit to keep to: it goes. */
void hak_harden_limited(void) {
    hak_guard_scarce();
    hak_quarantine_flush();
    hak_typed_swapped(hak_quarantine_flush);
    hak_keep_flush();
}

void hak_harden_trim(void) {
    hak_quarantine_trim();
    hak_typed_swapped(hak_quarantine_trim);
}
/* hak_typed_swapped calls these two. */
void hak_harden_age(void) {
    hak_quarantine_age(false);
}
void hak_harden_age_sparse(void) {
    hak_quarantine_age(true);
}
void hak_harden_idle(uint64_t now) {
    hak_quarantine_idle(now);
    hak_keep_idle();
}

/* Debug builds. Forgets what was known of the regions: see hak_policy_reset. */
void hak_harden_reset(bool stay) {
    hak_sweep_reset();
    hak_quarantine_reset();
    hak_ahead_reset();
    hak_keep_reset();
    hak_sample_reset(stay);
    hak_guard_reset();
    hak_ledger_reset(stay);
}

/* Slabs get 26 random bits of 47: the alignment of superslabs costs the others, and the random choice of granule and
 * slot makes up for them. Large objects get 35, because they begin at any page; those of partitions get 31. */
size_t hak_harden_region_align(hak_region_kind kind) {
    const size_t aligns[] = {HAK_SUPERSLAB, hak_os_page, HAK_GRANULE, HAK_GRANULE};
    return hak_hardening.random ? aligns[hak_min(kind, HAK_REGION_TYPED)] : HAK_SUPERSLAB;
}

hak_region_kind hak_harden_large_kind(size_t align, unsigned partition) {
    if (partition != 0)
        return (hak_region_kind)(HAK_REGION_TYPED + partition - 1);
    return align <= hak_os_page ? HAK_REGION_LARGE : HAK_REGION_ALIGNED;
}
