/* verify_large.c: see verify_large.h. What follows a report is for the mode `report`. */
#include "hardening/verify_large.h"

#include "allocator/heap/large.h"
#include "allocator/os/os.h"
#include "allocator/policy.h"
#include "hardening/canary.h"
#include "hardening/guard.h"
#include "hardening/inherit.h"
#include "hardening/keep.h"
#include "hardening/locate.h"
#include "hardening/marks.h"
#include "hardening/stain.h"

/* Bytes behind the object that we may use: to the end of its last page, and at least the canary's where no
 * guard follows. */
static size_t large_room(const hak_large_record *record) {
    size_t room = hak_ledger_large_pages(record) - record->size;
    return record->slack != 0 ? hak_max(room, HAK_CANARY_BYTES) : room;
}

const unsigned char *hak_verify_large_overflow(const void *obj, const hak_large_record *record) {
    const unsigned char *end = (const unsigned char *)obj + record->size;
    size_t room = large_room(record);
    uint64_t right = hak_canary_of(end, HAK_GLANCE(record->word));
    if (hak_inherit_wiped(obj, record->size, room))
        return NULL;
    for (size_t i = 0; i < hak_min(room, HAK_CANARY_BYTES); i++)
        if (end[i] != (unsigned char)(right >> (8 * i)))
            return end + i;
    if (room <= HAK_CANARY_BYTES || !hak_hardening.zero)
        return NULL;
    return hak_stain_find(end + HAK_CANARY_BYTES, room - HAK_CANARY_BYTES);
}

/* Writes the canary, and zeros to the end of the page. A bare object has zeros already. `word`: the record to
 * be. */
static void large_mark_end(void *obj, const hak_large_record *record, uint32_t word) {
    unsigned char *end = (unsigned char *)obj + record->size;
    size_t room = (word & HAK_RECORD_BARE) != 0 || !hak_hardening.canary ? 0 : large_room(record);
    size_t whole = hak_min(room, HAK_CANARY_BYTES);
    uint64_t right = hak_canary_at(end);
    memcpy(end, &right, whole);
    memset(end + whole, 0, room - whole);
}

/* Removes what large_mark_end wrote, so that it does not appear in memory that realloc adds. */
static void large_clear_mark(void *obj, const hak_large_record *record) {
    if (hak_hardening.canary)
        memset((char *)obj + record->size, 0, hak_min(large_room(record), HAK_CANARY_BYTES));
}

/* Purges the tail that a shrunk object leaves in its span, in case no guard has taken its memory. */
static void large_purge_tail(void *obj, const hak_large_record *record, size_t before) {
    size_t from = hak_ledger_large_pages(record), to = hak_align_up(before, hak_os_page);
    if (to > from && hak_policy_tail_stays())
        (void)hak_os_purge((uintptr_t)obj + from, to - from, HAK_PURGE_NOW);
}

void hak_verify_stray(const hak_matter *m) {
    hak_large_record *record = hak_ledger_large(m->addr);
    hak_located found;
    if (record == NULL)
        hak_matter_not_ours(m);
    else if (HAK_GLANCE(record->word) != 0 && hak_ledger_large_begins(m->addr))
        hak_matter_not_live(m, HAK_GLANCE(record->word));
    else if (hak_locate(m->addr, &found) && m->addr - found.obj < found.room)
        hak_matter_inside(m);
    else
        hak_matter_not_ours(m);
}

hak_large_record *hak_verify_large_live(hak_matter *m, hak_claim claim, bool end_it) {
    if (!hak_ledger_large_begins(m->addr)) {
        hak_verify_stray(m);
        return NULL;
    }
    hak_large_record *record = hak_ledger_large(m->addr);
    uint32_t word = record != NULL ? __atomic_load_n(&record->word, __ATOMIC_RELAXED) : 0;
    if (hak_record_state(word) != HAK_SLOT_LIVE ||
        (end_it && !__atomic_compare_exchange_n(&record->word, &word,
                                                (word & ~(uint32_t)HAK_RECORD_STATE) | HAK_SLOT_FREED, false,
                                                __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))) {
        hak_matter_not_live(m, word);
        return NULL;
    }
    m->was_live = true;
    hak_matter_check_claim(m, claim, word, record->size);
    const void *bad = hak_hardening.canary ? hak_verify_large_overflow((void *)m->addr, record) : NULL;
    if (bad != NULL)
        hak_matter_overflow(m, bad);
    return record;
}

/* Clears records of earlier objects inside this one, up to its last granule, of which it may have only a part. */
static void forget_inside(const void *obj, size_t capacity) {
    const hak_ledger_region *ledger = hak_ledger_of((uintptr_t)obj);
    size_t first = ((uintptr_t)obj - ledger->base) >> HAK_GRANULE_SHIFT;
    size_t last = first + ((capacity - 1) >> HAK_GRANULE_SHIFT);
    for (size_t i = hak_marks_next(ledger, first + 1, last + 1); i <= last;
         i = hak_marks_next(ledger, i + 1, last + 1))
        HAK_SHOW(ledger->large[i].word, 0);
    hak_marks_clear(ledger, first + 1, last); /* no guard is there either: hak_guard_large_live */
    hak_marks_set(ledger, first, first + 1);
}

bool hak_verify_large_alloc(void *obj, size_t size, size_t capacity, hak_origin origin) {
    hak_large_record *record = hak_ledger_large((uintptr_t)obj);
    if (!hak_guard_large_live(obj, capacity))
        return false;
    forget_inside(obj, capacity);
    record->size = size;
    origin.partition = 0; /* the region names it */
    uint32_t word = hak_record_live(origin);
    large_mark_end(obj, record, word);
    __atomic_store_n(&record->word, word, __ATOMIC_RELEASE);
    return true;
}

/* A sweep checks the end of an object, and tails are cut, under the large lock and only if the object is live.
 * The caller has changed the state. So either they see that the object is not live, or the caller waits for
 * them here, before the memory that they use is shut or written to. */
_Atomic bool hak_verify_large_sweep, hak_verify_large_settles;
static void large_wait(void) {
    if (HAK_LIKELY(!atomic_load(&hak_verify_large_sweep) && !atomic_load(&hak_verify_large_settles)))
        return;
    hak_lock_take(&hak_large_lock);
    hak_lock_give(&hak_large_lock);
}

/* The last settled end: a thread that changes it holds the record or has freed the object, before it waits. */
size_t hak_verify_large_end(const void *obj, size_t capacity) {
    hak_large_record *record = hak_ledger_large((uintptr_t)obj);
    if (record == NULL || hak_record_state(__atomic_load_n(&record->word, __ATOMIC_SEQ_CST)) != HAK_SLOT_LIVE)
        return 0;
    return capacity + HAK_GLANCE(record->slack) * hak_os_page;
}

/* Sweeps skip a held object, and another thread that frees it finds it held. */
bool hak_verify_large_hold(void *obj) {
    hak_large_record *record = hak_ledger_large((uintptr_t)obj);
    uint32_t word = record != NULL ? __atomic_load_n(&record->word, __ATOMIC_RELAXED) : 0;
    if (hak_record_state(word) != HAK_SLOT_LIVE ||
        !__atomic_compare_exchange_n(&record->word, &word, word | HAK_SLOT_HELD, false, __ATOMIC_SEQ_CST,
                                     __ATOMIC_RELAXED)) {
        hak_matter m = {"realloc", (uintptr_t)obj, 0, HAK_ERROR_REALLOC, false, NULL};
        hak_matter_not_live(&m, word);
        return false;
    }
    large_wait();
    large_clear_mark(obj, record);
    return true;
}

/* Makes the object live again, otherwise as `word` says. */
static void large_release(void *obj, hak_large_record *record, uint32_t word) {
    word = (word & ~(uint32_t)HAK_RECORD_STATE) | HAK_SLOT_LIVE;
    large_mark_end(obj, record, word);
    __atomic_store_n(&record->word, word, __ATOMIC_RELEASE);
}

void hak_verify_large_unhold(void *obj) {
    hak_large_record *record = hak_ledger_large((uintptr_t)obj);
    large_release(obj, record, record->word);
}

bool hak_verify_large_resize(void *obj, size_t size, size_t capacity) {
    hak_large_record *record = hak_ledger_large((uintptr_t)obj);
    hak_origin origin = {(hak_family)(record->word >> HAK_RECORD_FAMILY_SHIFT & 3), HAK_ALIGN_LOG2, 0, 0};
    size_t before = record->size;
    if (!hak_guard_large_live(obj, capacity)) {
        hak_verify_large_unhold(obj);
        return false;
    }
    forget_inside(obj, capacity);
    record->size = size;
    large_purge_tail(obj, record, before);
    large_release(obj, record, hak_record_live(origin));
    return true;
}

bool hak_verify_large_free(void *obj) {
    size_t capacity = hak_large_capacity(obj);
    if (capacity == 0)
        return true; /* another thread is freeing it now: hak_large_give tells the caller */
    large_wait();
    bool guarded = hak_guard_large_freed(obj);
    size_t slack = hak_ledger_large((uintptr_t)obj)->slack * hak_os_page;
    return !hak_keep_take(obj, capacity + slack, guarded);
}
