/* verify.c: see verify.h. Each error is reported with its own literal; what follows a report is for the mode
 * `report`. */
#include "hardening/verify.h"

#include "allocator/heap/large.h"
#include "allocator/os/operators.h"
#include "allocator/os/os.h"
#include "allocator/policy.h"
#include "hardening/canary.h"
#include "hardening/crash_report.h"
#include "hardening/exits.h"
#include "hardening/guard.h"
#include "hardening/inherit.h"
#include "hardening/keep.h"
#include "hardening/look.h"
#include "hardening/marks.h"
#include "hardening/once.h"
#include "hardening/quarantine.h"
#include "hardening/sample.h"
#include "hardening/typed.h"
#include "hardening/wipe.h"

static const uint32_t FAMILY_BITS = 3u << HAK_RECORD_FAMILY_SHIFT;
static const uint32_t ALIGN_BITS = (uint32_t)HAK_RECORD_ALIGN_MASK << HAK_RECORD_ALIGN_SHIFT;

/* One call of the program's, on its way through the checks. */
typedef struct matter {
    const char *call;
    uintptr_t addr, caller;
    const char *not_live;   /* the literal for what is no live object's start; NULL: those of free */
    bool was_live;          /* this call has just ended it */
    const hak_claim *claim; /* what was wrongly said of the object; NULL: that is not the matter */
} matter;

static HAK_COLD void report(const matter *m, const char *error, hak_check check, const char *what,
                            const void *bad) {
    if (hak_mode_of(check) == HAK_MODE_OFF ||
        (hak_mode_of(check) == HAK_MODE_ONCE && !hak_once_first(check, m->caller)))
        return;
    hak_error_report(
        &(hak_error){.name = m->not_live != NULL && check == HAK_CHECK_FREE ? m->not_live : error,
                     .check = check,
                     .call = m->call,
                     .addr = m->addr,
                     .what = what,
                     .bad = (uintptr_t)bad,
                     .was_live = m->was_live,
                     .claim = m->claim,
                     .caller = m->caller});
}

static void not_ours(const matter *m) {
    report(m, HAK_ERROR_INVALID_FREE, HAK_CHECK_FREE, "not an address that malloc has given out", NULL);
}

static void inside(const matter *m) {
    if (m->addr % HAK_MIN_ALIGN != 0)
        report(m, HAK_ERROR_MISALIGNED_FREE, HAK_CHECK_FREE, "not the start of an object, not even aligned",
               NULL);
    else
        report(m, HAK_ERROR_INTERIOR_FREE, HAK_CHECK_FREE, "inside an object, not its start", NULL);
}

static void not_live(const matter *m, uint32_t word) {
    if (hak_record_state(word) == HAK_SLOT_UNUSED)
        report(m, HAK_ERROR_INVALID_FREE, HAK_CHECK_FREE, "memory that malloc has not given out yet", NULL);
    else
        report(m, HAK_ERROR_DOUBLE_FREE, HAK_CHECK_FREE, "the object has been freed already", NULL);
}

/* Where the program or one of its libraries brought some of C++'s operators itself, they may well call malloc, and
 * others do not: what is claimed of an object that any of them had a part in says nothing. */
static bool claim_means_nothing(hak_claim claim, uint32_t word) {
    bool ends_in_c = claim.family == HAK_FAMILY_MALLOC, made_in_c = (word & FAMILY_BITS) == 0;
    if (ends_in_c && made_in_c)
        return false;
    return hak_operators_replaced() || (ends_in_c != made_in_c && hak_operators_elsewhere());
}

static bool claim_is_right(hak_claim claim, uint32_t word, size_t size) {
    return hak_claim_fits(claim, word) && (claim.size == HAK_CLAIM_NO_SIZE || claim.size == size);
}

/* What nobody hears of need not be looked at: to see whether a claim means anything is dear. */
static bool is_silent(hak_check check, uintptr_t caller) {
    return hak_mode_of(check) == HAK_MODE_OFF ||
           (hak_mode_of(check) == HAK_MODE_ONCE && hak_once_seen(check, caller));
}

static void wrong_claim(const matter *m, hak_claim claim, uint32_t word, hak_check check, const char *error,
                        const char *what) {
    if (is_silent(check, m->caller) || claim_means_nothing(claim, word))
        return;
    matter its = *m;
    its.claim = &claim;
    report(&its, error, check, what, NULL);
}

/* realloc, rallocx, xallocx */
static bool resizes(const char *call) {
    return call[0] == 'r' || call[0] == 'x';
}

/* What a resize claims was looked at by hak_verify_live, which knows the place in the program; what it has moved it
 * then ends. */
static bool claim_is_verified(const matter *m) {
    return resizes(m->call) && m->not_live == NULL;
}

/* Whatever is claimed, the object ends by its record. */
static void check_claim(const matter *m, hak_claim claim, uint32_t word, size_t size) {
    word &= ~(uint32_t)HAK_RECORD_TYPED; /* of which no claim speaks */
    if (claim_is_verified(m) || claim_is_right(claim, word, size))
        return;
    if ((word & FAMILY_BITS) != (uint32_t)claim.family << HAK_RECORD_FAMILY_SHIFT)
        wrong_claim(m, claim, word, HAK_CHECK_FAMILY, HAK_ERROR_FAMILY,
                    "made by another family of functions");
    else if (!hak_claim_fits(claim, word) &&
             (word & ALIGN_BITS & hak_claim_mask(claim)) != hak_claim_align(claim) << HAK_RECORD_ALIGN_SHIFT)
        wrong_claim(m, claim, word, HAK_CHECK_ALIGNMENT, HAK_ERROR_ALIGNMENT, "made with another alignment");
    if (claim.size != HAK_CLAIM_NO_SIZE && claim.size != size)
        wrong_claim(m, claim, word, HAK_CHECK_SIZE, HAK_ERROR_SIZE, "not the size that was asked for");
}

static void overflow(const matter *m, const void *bad) {
    report(m, HAK_ERROR_OVERFLOW, HAK_CHECK_CANARY, "bytes past the end of the object were overwritten", bad);
}

/* Slots. ------------------------------------------------------------------------------------------------- */

/* True when the slot is live and the checks leave it at that. */
static bool slot_is_live(const matter *m, hak_place *place) {
    if (!hak_ledger_find((void *)m->addr, place)) {
        if (hak_ledger_of(m->addr) == NULL)
            not_ours(m);
        else if (hak_ledger_was_slot(m->addr))
            not_live(m, HAK_SLOT_FREED);
        else
            inside(m);
        return false;
    }
    uint32_t word = hak_record_load(place->record);
    if (hak_record_state(word) != HAK_SLOT_LIVE) {
        not_live(m, word);
        return false;
    }
    return true;
}

static void check_slot_canary(const matter *m, hak_place *place) {
    uint32_t word = hak_record_load(place->record);
    if (!hak_hardening.canary || hak_canary_right((void *)m->addr, word) ||
        hak_inherit_wiped((void *)m->addr, hak_record_size(word), HAK_CANARY_BYTES))
        return;
    const void *bad = hak_canary_find((void *)m->addr, word);
    uint32_t again = hak_record_load(place->record);
    if (hak_record_state(again) != HAK_SLOT_LIVE) /* another thread frees it just now */
        not_live(m, again);
    else
        overflow(m, bad);
}

/* The slot before shows damage at its end; its owner may free or resize it just now. */
static void check_neighbour(const matter *m, hak_place place) {
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
    matter its = *m;
    its.addr = slot.start;
    report(&its, HAK_ERROR_OVERFLOW, HAK_CHECK_NEIGHBOURS,
           "bytes past the end of the object before were overwritten", bad);
}

/* Out of line, as the next: an error may have to be reported on a small stack, and each kind needs its own part of it
 * only. */
static HAK_NOINLINE void *verify_slot(void *obj, hak_claim claim, const matter *m) {
    hak_place place;
    if (!slot_is_live(m, &place))
        return NULL;
    uint32_t word = hak_record_load(place.record);
    check_claim(m, claim, word, hak_record_size(word));
    check_slot_canary(m, &place);
    if (hak_hardening.neighbours)
        check_neighbour(m, place);
    const hak_granule *granule = hak_granule_find(m->addr);
    if (granule->partition != 0)
        return hak_typed_end(obj, granule, place.record, word, claim.call);
    return hak_hardening.end(obj, granule, place.record, word, claim.call);
}

void hak_verify_reuse(void *obj, uintptr_t caller) {
    hak_place place;
    matter m = {"malloc", (uintptr_t)obj, caller, NULL, false, NULL};
    if (!hak_ledger_find(obj, &place))
        hak_die("corrupt metadata", "an object of a cache is no slot");
    uint32_t word = hak_record_load(place.record);
    if (hak_record_state(word) == HAK_SLOT_LIVE || hak_record_state(word) == HAK_SLOT_HELD) {
        report(&m, HAK_ERROR_DOUBLE_FREE, HAK_CHECK_FREE,
               "freed twice at once: the slot has an owner already", NULL);
        return;
    }
    const unsigned char *bad =
        hak_wipe_find(obj, place.size); /* once in a while a part of it was looked at only */
    if (bad == NULL)
        return;
    report(&m, HAK_ERROR_WRITE, HAK_CHECK_WRITE, "bytes of a freed object were overwritten", bad);
    hak_wipe.clear(obj, place.size); /* it was a report only: the next owner gets a clean slot */
}

void hak_verify_slack(const void *obj, size_t size, size_t room, const char *call) {
    matter m = {call, (uintptr_t)obj, 0, NULL, true, NULL};
    const unsigned char *slack = (const unsigned char *)obj + size + HAK_CANARY_BYTES;
    const unsigned char *bad = hak_wipe_find(slack, room - size - HAK_CANARY_BYTES);
    if (bad != NULL)
        report(&m, HAK_ERROR_OVERFLOW, HAK_CHECK_CANARY,
               "bytes between the end of the object and the next one were overwritten", bad);
}

/* Sampled objects. --------------------------------------------------------------------------------------- */

static HAK_NOINLINE bool is_sampled(uintptr_t addr) {
    hak_located found;
    return hak_sample_locate(addr, &found);
}

static HAK_NOINLINE void verify_sampled(hak_claim claim, matter *m, uintptr_t caller) {
    hak_sample *sample = hak_sample_find((void *)m->addr);
    if (sample == NULL) {
        inside(m);
        return;
    }
    uint32_t word;
    if (!hak_sample_end(sample, &word)) {
        not_live(m, word);
        return;
    }
    m->was_live = true;
    check_claim(m, claim, word, sample->size);
    const void *bad = hak_sample_overflow(sample, HAK_SAMPLE_MAX);
    if (bad != NULL && (uintptr_t)bad < m->addr)
        report(m, HAK_ERROR_UNDERFLOW, HAK_CHECK_CANARY,
               "bytes before the start of the object were overwritten", bad);
    else if (bad != NULL)
        overflow(m, bad);
    hak_sample_give(sample, caller);
}

/* Large objects. ----------------------------------------------------------------------------------------- */

/* Bytes behind the object that are ours: to the end of its last page, and where no guard follows there as many as the
 * canary needs. */
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
    return hak_wipe_find(end + HAK_CANARY_BYTES, room - HAK_CANARY_BYTES);
}

/* The canary, and zeros to the end of the page; a bare object has all of that. `word`: what its record will be. */
static void large_mark_end(void *obj, const hak_large_record *record, uint32_t word) {
    unsigned char *end = (unsigned char *)obj + record->size;
    size_t room = (word & HAK_RECORD_BARE) != 0 ? 0 : large_room(record);
    uint64_t right = hak_canary_at(end);
    for (size_t i = 0; i < room && hak_hardening.canary; i++)
        end[i] = i < HAK_CANARY_BYTES ? (unsigned char)(right >> (8 * i)) : 0;
}

/* What large_mark_end wrote is gone: nobody finds it in memory that realloc adds. */
static void large_clear_mark(void *obj, const hak_large_record *record) {
    if (hak_hardening.canary)
        memset((char *)obj + record->size, 0, hak_min(large_room(record), HAK_CANARY_BYTES));
}

/* The tail that an object has left in its span: where no guard took its memory, it goes here. */
static void large_purge_tail(void *obj, const hak_large_record *record, size_t before) {
    size_t from = hak_ledger_large_pages(record), to = hak_align_up(before, hak_os_page);
    if (to > from && hak_policy_tail_stays())
        (void)hak_os_purge((uintptr_t)obj + from, to - from, HAK_PURGE_NOW);
}

/* Nothing that is live begins there: outside of all regions, or inside a large object, or of its gap. */
static void verify_stray(const matter *m) {
    hak_large_record *record = hak_ledger_large(m->addr);
    hak_located found;
    if (record == NULL)
        not_ours(m);
    else if (HAK_GLANCE(record->word) != 0 && hak_ledger_large_begins(m->addr))
        not_live(m, HAK_GLANCE(record->word));
    else if (hak_locate(m->addr, &found) && m->addr - found.obj < found.room)
        inside(m);
    else
        not_ours(m);
}

/* The record of the large object that starts at the address; NULL, after the report, when none starts there. */
static hak_large_record *large_live(matter *m, hak_claim claim, bool end_it) {
    if (!hak_ledger_large_begins(m->addr)) {
        verify_stray(m);
        return NULL;
    }
    hak_large_record *record = hak_ledger_large(m->addr);
    uint32_t word = record != NULL ? __atomic_load_n(&record->word, __ATOMIC_RELAXED) : 0;
    if (hak_record_state(word) != HAK_SLOT_LIVE ||
        (end_it && !__atomic_compare_exchange_n(&record->word, &word,
                                                (word & ~(uint32_t)HAK_RECORD_STATE) | HAK_SLOT_FREED, false,
                                                __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))) {
        not_live(m, word);
        return NULL;
    }
    m->was_live = true;
    check_claim(m, claim, word, record->size);
    const void *bad = hak_hardening.canary ? hak_verify_large_overflow((void *)m->addr, record) : NULL;
    if (bad != NULL)
        overflow(m, bad);
    return record;
}

/* Of objects that began there before: to the last granule, which the object may have only a part of. */
static void forget_inside(const void *obj, size_t capacity) {
    const hak_ledger_region *ledger = hak_ledger_of((uintptr_t)obj);
    size_t first = ((uintptr_t)obj - ledger->base) >> HAK_GRANULE_SHIFT;
    size_t last = first + ((capacity - 1) >> HAK_GRANULE_SHIFT);
    for (size_t i = hak_marks_next(ledger, first + 1, last + 1); i <= last;
         i = hak_marks_next(ledger, i + 1, last + 1))
        HAK_SHOW(ledger->large[i].word, 0);
    hak_marks_clear(ledger, first + 1, last); /* none there has a guard either: hak_guard_large_live */
    hak_marks_set(ledger, first, first + 1);
}

bool hak_verify_large_alloc(void *obj, size_t size, size_t capacity, hak_origin origin) {
    hak_large_record *record = hak_ledger_large((uintptr_t)obj);
    if (!hak_guard_large_live(obj, capacity))
        return false;
    forget_inside(obj, capacity);
    record->size = size;
    origin.partition = 0; /* the region says it */
    uint32_t word = hak_record_live(origin);
    large_mark_end(obj, record, word);
    __atomic_store_n(&record->word, word, __ATOMIC_RELEASE);
    return true;
}

/* A sweep that has seen the object live looks at its end with the lock held. Either it sees that the object is live no
 * more, or it is waited for here, before what it looks at may be shut. */
_Atomic bool hak_verify_large_sweep;
static void large_wait(void) {
    if (HAK_LIKELY(!atomic_load(&hak_verify_large_sweep)))
        return;
    hak_lock_take(&hak_large_lock);
    hak_lock_give(&hak_large_lock);
}

/* Sweeps look away meanwhile, and another thread that frees the object finds it held. */
bool hak_verify_large_resize(void *obj, size_t size, size_t capacity) {
    hak_large_record *record = hak_ledger_large((uintptr_t)obj);
    uint32_t word = __atomic_load_n(&record->word, __ATOMIC_RELAXED);
    hak_origin origin = {(hak_family)(word >> HAK_RECORD_FAMILY_SHIFT & 3), HAK_ALIGN_LOG2, 0, 0};
    if (hak_record_state(word) != HAK_SLOT_LIVE ||
        !__atomic_compare_exchange_n(&record->word, &word, HAK_SLOT_HELD, false, __ATOMIC_SEQ_CST,
                                     __ATOMIC_RELAXED)) {
        matter m = {"realloc", (uintptr_t)obj, 0, HAK_ERROR_REALLOC, false, NULL};
        not_live(&m, word);
        return false;
    }
    large_wait();
    size_t before = record->size;
    large_clear_mark(obj, record);
    bool done = hak_guard_large_live(obj, capacity);
    if (done) {
        forget_inside(obj, capacity);
        record->size = size;
        large_purge_tail(obj, record, before);
        word = hak_record_live(origin);
    }
    large_mark_end(obj, record, word);
    __atomic_store_n(&record->word, word, __ATOMIC_RELEASE);
    return done;
}

bool hak_verify_large_free(void *obj) {
    size_t capacity = hak_large_capacity(obj);
    if (capacity == 0)
        return true; /* another thread frees it at this moment: hak_large_give tells the caller */
    large_wait();
    bool guarded = hak_guard_large_freed(obj);
    size_t slack = hak_ledger_large((uintptr_t)obj)->slack * hak_os_page;
    return !hak_keep_take(obj, capacity + slack, guarded);
}

/* All kinds. --------------------------------------------------------------------------------------------- */

static void *verify_free(void *obj, unsigned tag, hak_claim claim, uintptr_t caller) {
    if (obj == NULL)
        return NULL;
    matter m = {claim.call, (uintptr_t)obj, caller, NULL, false, NULL};
    if (tag - 1u < HAK_CLASSES)
        return verify_slot(obj, claim, &m);
    if (tag == HAK_TAG_LARGE)
        return large_live(&m, claim, true) != NULL ? obj : NULL;
    if (is_sampled(m.addr))
        verify_sampled(claim, &m, caller);
    else
        verify_stray(&m);
    return NULL;
}

hak_leaving hak_verify_free(void *obj, unsigned tag, hak_claim claim, uintptr_t caller) {
    void *out = verify_free(obj, tag, claim, caller);
    /* Looked up again: to keep it costs a report's stack. */
    return (hak_leaving){out, out != NULL ? hak_harden_tag_slow(out) : HAK_TAG_NONE};
}

void hak_verify_live(const void *obj, unsigned tag, const char *call, uintptr_t caller) {
    matter m = {call, (uintptr_t)obj, caller, resizes(call) ? HAK_ERROR_REALLOC : HAK_ERROR_USABLE, false,
                NULL};
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
        record = large_live(&m, claim, false);
        word = record != NULL ? HAK_GLANCE(record->word) : 0;
    } else if (hak_sample_locate(m.addr, &found)) {
        const hak_sample *sample = hak_sample_find(obj);
        if (sample == NULL)
            inside(&m);
        else if (hak_record_state(sample->word) != HAK_SLOT_LIVE)
            not_live(&m, sample->word);
        word = sample != NULL ? sample->word : 0;
    } else {
        verify_stray(&m);
    }
    claim.family = HAK_FAMILY_MALLOC;
    if (resizes(call) && hak_record_state(word) == HAK_SLOT_LIVE)
        check_claim(&m, claim, word, size);
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

hak_fault_verdict hak_verify_fault(const hak_fault *fault) {
    uintptr_t addr = fault->addr;
    hak_located found;
    if (addr == 0 || !hak_locate(addr, &found))
        return HAK_FAULT_GOES_ON;
    if (hak_exits_mend(fault))
        return HAK_FAULT_MENDED;
    static const char *const calls[] = {"access", "read", "write"};
    /* In pages that were the object's own: they fault only because it was freed, whatever byte of it a wide access
     * begins at. */
    bool freed = hak_record_state(found.word) == HAK_SLOT_FREED &&
                 addr - (found.obj - found.before) < found.before + found.room;
    const char *what = freed              ? "of an object that has been freed"
                       : found.size == 0  ? "of an object of 0 bytes"
                       : addr < found.obj ? "before the start of the object"
                                          : "past the end of the object";
    hak_check check =
        found.where == HAK_WHERE_SAMPLED && found.size != 0 ? HAK_CHECK_SAMPLE : HAK_CHECK_GUARD;
    hak_error_report(&(hak_error){.name = freed ? HAK_ERROR_USE : HAK_ERROR_BOUNDS,
                                  .check = check,
                                  .call = calls[fault->is_write + 1],
                                  .addr = addr,
                                  .what = what,
                                  .caller = fault->at,
                                  .frame = fault->frame,
                                  .is_fault = true});
    return hak_mode_ends(check) ? HAK_FAULT_ENDS : HAK_FAULT_GOES_ON;
}
