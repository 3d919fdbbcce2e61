/* look.c: see look.h. */
#include "hardening/look.h"

#include "hardening/canary.h"
#include "hardening/inherit.h"
#include "hardening/quarantine.h"
#include "hardening/stain.h"

/* Tries to see the same bytes twice while no slot of the class goes round. A try takes about 100 ns, a turn of
 * the shortest ring 1 us. */
enum { TRIES = 512 };

/* The first wrong byte in the slot of a live object; NULL: none. */
HAK_PEEKS static const unsigned char *live_wrong(const hak_view *slot, uint32_t word) {
    size_t size = hak_record_size(word);
    const unsigned char *end = (const unsigned char *)slot->start + size;
    if (!hak_hardening.canary || size + HAK_CANARY_BYTES > slot->size)
        return NULL;
    if (!hak_canary_right((void *)slot->start, word))
        return hak_inherit_wiped((void *)slot->start, size, HAK_CANARY_BYTES)
                   ? NULL
                   : hak_canary_find((void *)slot->start, word);
    if (!hak_hardening.verify)
        return NULL;
    return hak_stain_find(end + HAK_CANARY_BYTES, slot->size - size - HAK_CANARY_BYTES);
}

/* The end of the intact canary that contains the byte; NULL: none does. */
HAK_PEEKS static const unsigned char *canary_end(const hak_view *slot, const unsigned char *bad) {
    for (unsigned i = 0; i < HAK_CANARY_BYTES && hak_hardening.canary; i++) {
        const unsigned char *at = bad - i;
        if ((uintptr_t)at < slot->start || (uintptr_t)at + HAK_CANARY_BYTES > slot->start + slot->size)
            continue;
        if (hak_canary_intact(at, 0))
            return at + HAK_CANARY_BYTES;
    }
    return NULL;
}

/* The first byte of a free slot that is neither zero nor part of the canary of a thread that is allocating the
 * slot now. */
HAK_PEEKS static const unsigned char *free_wrong(const hak_view *slot) {
    uintptr_t at = slot->from;
    while (at < slot->to) {
        const unsigned char *bad = hak_stain_find((void *)at, slot->to - at);
        const unsigned char *end = bad != NULL ? canary_end(slot, bad) : NULL;
        if (end == NULL)
            return bad;
        at = (uintptr_t)end;
    }
    return NULL;
}

static const unsigned char *wrong(const hak_view *slot, uint32_t word) {
    switch (hak_record_state(word)) {
    case HAK_SLOT_LIVE:
        return live_wrong(slot, word);
    case HAK_SLOT_UNUSED:
    case HAK_SLOT_FREED:
        return hak_hardening.verify ? free_wrong(slot) : NULL;
    case HAK_SLOT_HELD:
        break;
    }
    return NULL;
}

/* As wrong(), but only if the record is the same before and after. The acquire pairs with hak_record_store, the
 * fence with hak_record_hold: a thread that sees bytes written after the record also sees the record. */
static const unsigned char *wrong_again(const hak_view *slot, uint32_t word) {
    if (atomic_load_explicit(slot->record, memory_order_acquire) != word)
        return NULL;
    const unsigned char *bad = wrong(slot, word);
    atomic_thread_fence(memory_order_acquire);
    return hak_record_load(slot->record) == word ? bad : NULL;
}

static const unsigned char *look(const hak_view *slot, uint32_t *word) {
    *word = atomic_load_explicit(slot->record, memory_order_acquire);
    const unsigned char *bad = wrong(slot, *word);
    for (int i = 0; bad != NULL && i < TRIES; i++) {
        uint64_t turns = hak_quarantine_turns(slot->cls);
        bad = wrong_again(slot, *word);
        if (bad != NULL)
            bad = wrong_again(slot, *word);
        if (bad != NULL && hak_quarantine_turns(slot->cls) == turns)
            return bad;
    }
    return NULL;
}

/* The slot may be another owner's, with a memory tag. */
const unsigned char *hak_look(const hak_view *slot, uint32_t *word) {
    uint64_t before = hak_mte_pause();
    const unsigned char *bad = look(slot, word);
    hak_mte_resume(before);
    return bad;
}
