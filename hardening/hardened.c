/* hardened.c: brings the hardened variant to life, in the order of what needs what. */
#include "allocator/policy.h"

#include "allocator/os.h"
#include "allocator/os_process.h"
#include "hardening/crash_report.h"
#include "hardening/judge.h"
#include "hardening/keep.h"
#include "hardening/seal.h"

static void on_fault(const hak_fault *fault) {
    hak_judge_fault(fault->addr, fault->at, fault->frame, fault->is_write);
}

enum {
    /* Below, and this close to the top of the address space, no region is wanted. */
    HINT_FIRST_SHIFT = 33,
    HINT_ROOM_SHIFT = 42, /* 4 TiB: more than the largest region */
};

/* An address space with a limit has holes in its table of tags: see tag.c. */
static const size_t SMALL_ADDRESS_SPACE = (size_t)16 << 30;

bool hak_harden_init(void) {
    hak_relax_init();
    hak_hardening.tag_shift = hak_os_address_limit() < SMALL_ADDRESS_SPACE ? 0 : HAK_ADDRESS_BITS;
    hak_wipe_init();
    hak_canary_init();
    if (hak_hardening.guard)
        hak_guard_init();
    if (hak_hardening.sample_period != 0 || hak_hardening.guard)
        hak_sample_init();
    if (hak_hardening.guard || hak_hardening.sample_period != 0)
        hak_os_on_fault(on_fault);
    return true;
}

unsigned hak_harden_tag_slow(const void *obj) {
    bool no_address = (uintptr_t)obj >> HAK_ADDRESS_BITS != 0;
    return no_address || hak_region_find((uintptr_t)obj) == NULL ? HAK_TAG_NONE : hak_tag_of(obj);
}

/* The usual end of an allocation, out of line. */
static void *make_live(void *obj, unsigned cls, size_t size, hak_origin origin, uintptr_t caller) {
    hak_place place;
    bool found = hak_ledger_find(obj, cls, &place);
    uint32_t word = hak_record_load(place.record);
    if (!found || (word & 1) != 0)
        hak_judge_reuse(obj, cls, caller);
    uint32_t live = hak_record_live(origin) | (uint32_t)size << HAK_RECORD_SIZE_SHIFT;
    if (word != 0 && hak_hardening.verify)
        return hak_harden_alloc_verified(obj, size, place.record, live);
    if (hak_hardening.canary)
        hak_canary_set(obj, size);
    hak_record_store(place.record, live);
    return obj;
}

/* Perhaps a sampled object. */
void *hak_harden_alloc_rare(void *obj, unsigned cls, size_t size, hak_origin origin, uintptr_t caller) {
    void *sampled = hak_sample_take_slow(obj, cls, size, origin, caller);
    return sampled != NULL ? sampled : make_live(obj, cls, size, origin, caller);
}

/* A slot with an owner. */
void *hak_harden_alloc_judged(void *obj, unsigned cls, size_t size, hak_origin origin, uintptr_t caller) {
    return make_live(obj, cls, size, origin, caller);
}

/* A slot that was used before: all that its last owner had must still be zero. */
void *hak_harden_alloc_verified(void *obj, size_t size, hak_record *record, uint32_t live) {
    size_t used = hak_record_size(hak_record_load(record)) + HAK_CANARY_BYTES;
    if (HAK_UNLIKELY(!hak_wipe.is_clear(obj, hak_align_up(used, HAK_MIN_ALIGN))))
        hak_judge_reuse(obj, hak_tag_of(obj), 0);
    if (hak_hardening.canary)
        hak_canary_set(obj, size);
    hak_record_store(record, live);
    return obj;
}

/* Freed first, so that another thread that frees the object too finds that out; zeroed then. */
void *hak_harden_free_zeroed(void *obj, unsigned cls, hak_record *record, const char *call) {
    hak_guarded *mine = hak_guarded_mine;
    uint32_t word = hak_record_load(record);
    size_t size = hak_record_size(word), room = hak_classes[cls].size;
    hak_record_store(record, hak_record_freed(mine->owner, word));
    if (HAK_UNLIKELY(!hak_wipe.finish(obj, size + HAK_CANARY_BYTES, room))) {
        if (hak_hardening.canary)
            hak_judge_slack(obj, size, room, call);
        hak_wipe.clear(obj, room);
    }
    hak_ring *ring = &mine->rings[cls];
    if (HAK_UNLIKELY(ring->at == ring->limit))
        return hak_quarantine_turn_slow(obj, cls);
    return hak_ring_exchange(mine, ring, obj, cls);
}

/* The ring has come round, or the thread has none. */
void *hak_harden_free_turn(void *obj, unsigned cls, hak_record *record) {
    hak_record_store(record, hak_record_freed(hak_guarded_mine->owner, hak_record_load(record)));
    return hak_quarantine_turn_slow(obj, cls);
}

void hak_harden_seal(void) {
    hak_seal_start();
}

void hak_harden_fork_child(void) {
    hak_quarantine_fork_child();
    hak_sample_fork_child();
}

/* Debug builds. Regions die after this; what was known of them is forgotten first. */
void hak_harden_reset(void) {
    hak_crash_report_reset();
    hak_quarantine_reset();
    hak_keep_reset();
    hak_sample_reset();
    hak_guard_reset();
    hak_ledger_reset();
}

/* 26 random bits of 47: the alignment of superslabs takes the rest, which the random choice of granule and slot give
 * back. Where something lies already, the kernel puts the region where it likes. */
uintptr_t hak_harden_region_hint(hak_region_kind kind) {
    (void)kind;
    if (!hak_hardening.random)
        return 0;
    uint64_t number;
    hak_os_random(&number, sizeof number);
    uintptr_t first = (uintptr_t)1 << HINT_FIRST_SHIFT;
    uintptr_t room = ((uintptr_t)1 << HAK_ADDRESS_BITS) - ((uintptr_t)1 << HINT_ROOM_SHIFT) - first;
    return first + hak_align_down(number % room, HAK_SUPERSLAB);
}
