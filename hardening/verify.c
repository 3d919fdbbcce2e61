/* verify.c: see verify.h. Code after a report runs in the mode `report`. */
#include "hardening/verify.h"

#include "allocator/policy.h"
#include "hardening/canary.h"
#include "hardening/exits.h"
#include "hardening/inherit.h"
#include "hardening/look.h"
#include "hardening/matter.h"
#include "hardening/quarantine.h"
#include "hardening/sample.h"
#include "hardening/typed.h"
#include "hardening/verify_large.h"

/* Slots. ------------------------------------------------------------------------------------------------- */

/* True when the address is that of a live slot; otherwise reports. */
static bool slot_is_live(const hak_matter *m, hak_place *place) {
    if (!hak_ledger_find((void *)m->addr, place)) {
        if (hak_ledger_of(m->addr) == NULL)
            hak_matter_not_ours(m);
        else if (hak_ledger_was_slot(m->addr))
            hak_matter_not_live(m, HAK_SLOT_FREED);
        else
            hak_matter_inside(m);
        return false;
    }
    uint32_t word = hak_record_load(place->record);
    if (hak_record_state(word) != HAK_SLOT_LIVE) {
        hak_matter_not_live(m, hak_ledger_word(m->addr, word));
        return false;
    }
    return true;
}

static void check_slot_canary(const hak_matter *m, hak_place *place) {
    uint32_t word = hak_record_load(place->record);
    if (!hak_hardening.canary || hak_canary_right((void *)m->addr, word) ||
        hak_inherit_wiped((void *)m->addr, hak_record_size(word), HAK_CANARY_BYTES))
        return;
    const void *bad = hak_canary_find((void *)m->addr, word);
    uint32_t again = hak_record_load(place->record);
    if (hak_record_state(again) != HAK_SLOT_LIVE) /* another thread is freeing it now */
        hak_matter_not_live(m, again);
    else
        hak_matter_overflow(m, bad);
}

/* Checks the end of the slot before, whose owner may be freeing or resizing it now. */
static void check_neighbour(const hak_matter *m, hak_place place) {
    hak_view slot = {.record = place.record - 1,
                     .start = m->addr - place.size,
                     .size = place.size,
                     .cls = hak_granule_find(m->addr)->cls};
    uint32_t word = hak_record_load(slot.record);
    if (hak_record_state(word) != HAK_SLOT_LIVE || hak_exits_begun() || hak_inherit_torn(slot.start))
        return;
    const unsigned char *bad = hak_look(&slot, &word);
    if (bad == NULL || hak_record_state(word) != HAK_SLOT_LIVE)
        return;
    hak_matter its = *m;
    its.addr = slot.start;
    hak_matter_report(&its, HAK_ERROR_OVERFLOW, HAK_CHECK_NEIGHBOURS,
                      "bytes past the end of the object before were overwritten", bad);
}

/* Out of line, like the next function: an error may be reported on a small stack, and each kind needs only its
 * own part of it. */
static HAK_NOINLINE void *verify_slot(void *obj, hak_claim claim, const hak_matter *m) {
    hak_place place;
    if (!slot_is_live(m, &place))
        return NULL;
    uint32_t word = hak_record_load(place.record);
    hak_matter_check_claim(m, claim, word, hak_record_size(word));
    check_slot_canary(m, &place);
    if (hak_hardening.neighbours)
        check_neighbour(m, place);
    const hak_granule *granule = hak_granule_find(m->addr);
    if (granule->partition != 0)
        return hak_typed_end(obj, granule, place.record, word, claim.call);
    return hak_hardening.end(obj, granule, place.record, word, claim.call);
}

/* Sampled objects. --------------------------------------------------------------------------------------- */

static HAK_NOINLINE bool is_sampled(uintptr_t addr) {
    hak_located found;
    return hak_sample_locate(addr, &found);
}

static HAK_NOINLINE void verify_sampled(hak_claim claim, hak_matter *m, uintptr_t caller) {
    hak_sample *sample = hak_sample_find((void *)m->addr);
    if (sample == NULL) {
        hak_matter_inside(m);
        return;
    }
    uint32_t word;
    if (!hak_sample_end(sample, &word)) {
        hak_matter_not_live(m, word);
        return;
    }
    m->was_live = true;
    hak_matter_check_claim(m, claim, word, sample->size);
    const void *bad = hak_sample_overflow(sample, HAK_SAMPLE_MAX);
    if (bad != NULL && (uintptr_t)bad < m->addr)
        hak_matter_report(m, HAK_ERROR_UNDERFLOW, HAK_CHECK_CANARY,
                          "bytes before the start of the object were overwritten", bad);
    else if (bad != NULL)
        hak_matter_overflow(m, bad);
    hak_sample_give(sample, caller);
}

/* All kinds. --------------------------------------------------------------------------------------------- */

static void *verify_free(void *obj, unsigned tag, hak_claim claim, uintptr_t caller) {
    if (obj == NULL)
        return NULL;
    hak_matter m = {claim.call, (uintptr_t)obj, caller, NULL, false, NULL};
    if (tag - 1u < HAK_CLASSES)
        return verify_slot(obj, claim, &m);
    if (tag == HAK_TAG_LARGE)
        return hak_verify_large_live(&m, claim, true) != NULL ? obj : NULL;
    if (is_sampled(m.addr))
        verify_sampled(claim, &m, caller);
    else
        hak_verify_stray(&m);
    return NULL;
}

hak_leaving hak_verify_free(void *obj, unsigned tag, hak_claim claim, uintptr_t caller) {
    void *out = verify_free(obj, tag, claim, caller);
    /* Looked up again: keeping it would cost stack in a report. */
    return (hak_leaving){out, out != NULL ? hak_harden_tag_slow(out) : HAK_TAG_NONE};
}

void hak_verify_live(const void *obj, unsigned tag, const char *call, uintptr_t caller) {
    hak_matter m = {call,   (uintptr_t)obj,
                    caller, hak_matter_resizes(call) ? HAK_ERROR_REALLOC : HAK_ERROR_USABLE,
                    false,  NULL};
    hak_claim claim = HAK_CLAIM(call, HAK_FAMILY_MALLOC);
    hak_located found;
    hak_place place;
    uint32_t word = 0;
    size_t size = 0;
    if (tag - 1u < HAK_CLASSES) {
        if (!slot_is_live(&m, &place))
            return;
        word = hak_record_load(place.record);
        size = hak_record_size(word);
        check_slot_canary(&m, &place);
    } else if (tag == HAK_TAG_LARGE) {
        hak_large_record *record = hak_ledger_large(m.addr);
        claim.family = record != NULL && hak_ledger_large_begins(m.addr)
                           ? HAK_GLANCE(record->word) >> HAK_RECORD_FAMILY_SHIFT & 3
                           : 0;
        record = hak_verify_large_live(&m, claim, false);
        word = record != NULL ? HAK_GLANCE(record->word) : 0;
    } else if (hak_sample_locate(m.addr, &found)) {
        const hak_sample *sample = hak_sample_find(obj);
        if (sample == NULL)
            hak_matter_inside(&m);
        else if (hak_record_state(sample->word) != HAK_SLOT_LIVE)
            hak_matter_not_live(&m, sample->word);
        word = sample != NULL ? sample->word : 0;
    } else {
        hak_verify_stray(&m);
    }
    claim.family = HAK_FAMILY_MALLOC;
    if (hak_matter_resizes(call) && hak_record_state(word) == HAK_SLOT_LIVE)
        hak_matter_check_claim(&m, claim, word, size);
}

size_t hak_verify_usable(const void *obj, unsigned tag, size_t capacity) {
    hak_place place;
    if (tag - 1u < HAK_CLASSES)
        return hak_ledger_find(obj, &place) ? hak_record_size(hak_record_load(place.record)) : 0;
    if (tag == HAK_TAG_LARGE)
        return capacity != 0 ? hak_ledger_large((uintptr_t)obj)->size : 0;
    const hak_sample *sample = hak_sample_find(obj);
    return sample != NULL && hak_record_state(sample->word) == HAK_SLOT_LIVE ? sample->size : 0;
}
