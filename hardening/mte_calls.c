/* mte_calls.c: the ends of the two fast paths for slots with memory tags, what leaves them, and the names of faults.
 * See mte_calls.h. */
#include "hardening/mte_calls.h"

#if defined(__aarch64__)
#include "allocator/options.h"
#include "allocator/os/os.h"
#include "allocator/os/os_tags.h"
#include "allocator/os/report.h"
#include "hardening/exits.h"
#include "hardening/locate.h"
#include "hardening/matter.h"
#include "hardening/quarantine.h"
#include "hardening/stain.h"
#include "hardening/wipe.h"

#include <string.h>

/* hak_hardening.reuse. A thread that lost a race for the slot (hak_stain_slot has reported it) finds its tag. */
static void *reuse_tagged(void *obj, size_t size, hak_record *record, uint32_t live, size_t room) {
    if (room > hak_mte_most())
        return hak_hardening.reuse_plain(obj, size, record, live, room);
    if (hak_mte_tag(hak_mte_tagged(obj)) != 0)
        hak_mte_store(obj, room);
    if (hak_hardening.verify && HAK_UNLIKELY(!hak_wipe.is_clear(obj, room)))
        return hak_wipe_reuse_slow(obj, size, record, live, room);
    return hak_wipe_reuse_unverified(obj, size, record, live, room);
}

/* hak_hardening.end: one pass zeroes the slot and takes its tag. The slack is checked before, with the owner's tag. */
static void *end_tagged(void *obj, const hak_granule *granule, hak_record *record, uint32_t word,
                        const char *call) {
    size_t used = hak_record_size(word) + HAK_CANARY_BYTES, room = granule->size;
    if (room > hak_mte_most())
        return hak_hardening.end_plain(obj, granule, record, word, call);
    hak_guarded *mine = hak_guarded_mine;
    uint32_t freed = hak_record_freed(mine->owner, word) | hak_mte_last(obj);
    if (!hak_hardening.zero) {
        (void)hak_mte_freed_slow(obj, room);
        hak_record_store(record, freed);
        return hak_ring_exchange(mine, obj, granule->cls, room);
    }
    const char *owned = hak_mte_tagged(obj);
    hak_record_hold(record, freed);
    if (HAK_UNLIKELY(hak_stain_find(owned + used, room - used) != NULL)) {
        (void)hak_mte_freed_slow(obj, room);
        return hak_wipe_end_slow(obj, granule, record, word, call);
    }
    hak_mte_store_zeroed(obj, room);
    hak_record_end(record);
    return hak_ring_exchange(mine, obj, granule->cls, room);
}

static bool goes_without(const char *why) {
    hak_line line;
    hak_line_begin(&line);
    hak_line_text(&line, why);
    hak_line_end(&line);
    return false;
}

bool hak_mte_init(void) {
    const char *text = hak_options_text("HAKMEM_MTE");
    if (text == NULL || strcmp(text, "0") == 0)
        return false;
    if (strcmp(text, "1") != 0) {
        hak_options_complain("HAKMEM_MTE", text, "0, 1", "0");
        return false;
    }
    if (hak_hardening.partitions_by_site) /* docs/LIMITS.md */
        return goes_without(
            "HAKMEM_MTE=1: not together with HAKMEM_PARTITIONS; this process goes on without tags");
    hak_hardening.mte = hak_os_tags_begin();
    if (!hak_hardening.mte)
        return hak_options_by_user("HAKMEM_MTE") &&
               goes_without("HAKMEM_MTE=1: this process cannot have memory tags; it goes on without");
    hak_hardening.reuse_plain = hak_hardening.reuse;
    hak_hardening.end_plain = hak_hardening.end;
    hak_hardening.reuse = reuse_tagged;
    hak_hardening.end = end_tagged;
    return true;
}

/* True when a live slot begins there whose tag is not the pointer's. */
static bool has_another_owner(const void *obj) {
    hak_place place;
    return hak_ledger_find(hak_mte_plain(obj), &place) &&
           hak_record_state(hak_record_load(place.record)) == HAK_SLOT_LIVE && hak_mte_stale(obj);
}

static void report_stale(const void *obj, const char *call, uintptr_t caller, const char *not_live) {
    hak_matter m = {call, (uintptr_t)hak_mte_plain(obj), caller, not_live, false, NULL};
    if (hak_mte_tag(obj) == 0)
        hak_matter_report(&m, HAK_ERROR_INVALID_FREE, HAK_CHECK_FREE,
                          "the pointer has lost the memory tag that malloc gave it", NULL);
    else
        hak_matter_report(&m, HAK_ERROR_DOUBLE_FREE, HAK_CHECK_FREE,
                          "the pointer has not the memory tag of the object: it is that of an earlier one",
                          NULL);
}

/* A pointer with a tag to memory that no slab has is not ours: it stays as it is, so that the report shows it. */
hak_leaving hak_mte_free(void *obj, unsigned tag, hak_claim claim, uintptr_t caller) {
    if (!hak_hardening.mte)
        return hak_typed_free(obj, tag, claim, caller);
    hak_leaving leaving = {NULL, HAK_TAG_NONE};
    uint64_t before = hak_mte_pause();
    void *plain = hak_mte_plain(obj);
    if (plain != obj && hak_granule_find((uintptr_t)plain) == NULL)
        leaving = hak_typed_free(obj, HAK_TAG_NONE, claim, caller);
    else if (has_another_owner(obj))
        report_stale(obj, claim.call, caller, NULL);
    else
        leaving = hak_typed_free(plain, tag, claim, caller);
    hak_mte_resume(before);
    return leaving;
}

void hak_mte_verify_live(const void *obj, unsigned tag, const char *call, uintptr_t caller) {
    uint64_t before = hak_mte_pause();
    if (has_another_owner(obj))
        report_stale(obj, call, caller, hak_matter_resizes(call) ? HAK_ERROR_REALLOC : HAK_ERROR_USABLE);
    else
        hak_verify_live(hak_mte_plain(obj), tag, call, caller);
    hak_mte_resume(before);
}

/* The live slot that begins there has the tag. */
static bool is_of(uintptr_t obj, unsigned tag) {
    hak_place place;
    return hak_ledger_find((void *)obj, &place) &&
           hak_record_state(hak_record_load(place.record)) == HAK_SLOT_LIVE &&
           hak_mte_tag(hak_mte_tagged((void *)obj)) == tag;
}

/* What the access was, as far as the tags tell. A neighbour's pointer is odd where this slot's are even. */
static const char *what_of(const hak_located *found, uintptr_t addr, unsigned tag, bool *freed) {
    *freed = false;
    if (addr - found->obj >= found->room)
        return "past the end of the object";
    if (tag == 0)
        return "by a pointer that has lost the memory tag that malloc gave it";
    if (is_of(found->obj - found->room, tag))
        return "past the end of the object before this one";
    if (is_of(found->obj + found->room, tag))
        return "before the start of the object after this one";
    *freed = tag % 2 == hak_mte_is_odd((void *)found->obj);
    if (!*freed)
        return "by a pointer to another object";
    return hak_record_state(found->word) == HAK_SLOT_FREED
               ? "of an object that has been freed"
               : "of an object that has been freed: the memory has another owner now";
}

/* Faults in memory that the program has given tags to are not ours. */
hak_fault_verdict hak_mte_fault(const hak_fault *fault) {
    hak_located found;
    bool freed;
    if (!hak_hardening.mte || !hak_locate(fault->addr, &found) || found.where != HAK_WHERE_SLOT)
        return HAK_FAULT_GOES_ON;
    if (hak_exits_mend(fault)) {
        hak_mte_store(
            (void *)(hak_align_down(fault->addr, HAK_MTE_GRANULE) | (uintptr_t)fault->tag << HAK_MTE_SHIFT),
            HAK_MTE_GRANULE);
        return HAK_FAULT_MENDED;
    }
    const char *what = what_of(&found, fault->addr, fault->tag, &freed);
    hak_error_report(&(hak_error){.name = freed ? HAK_ERROR_USE : HAK_ERROR_BOUNDS,
                                  .check = HAK_CHECK_GUARD,
                                  .call = "access",
                                  .addr = fault->addr,
                                  .what = what,
                                  .caller = fault->at,
                                  .frame = fault->frame,
                                  .is_fault = true});
    return hak_mode_ends(HAK_CHECK_GUARD) ? HAK_FAULT_ENDS : HAK_FAULT_GOES_ON;
}
#endif
