/* common.c: see common.h. */
#include "hardening/common.h"

#include "allocator/os/os.h"
#include "allocator/pages/release.h"
#include "hardening/ring.h"
#include "hardening/seal.h"

#include <string.h>

enum {
    DRAWN = 16, /* the next slot to leave is one of so many oldest */
    KINDS = 2,  /* without and with a partition */
    BATCH = 32, /* slots that go home at once */
    /* The most bytes of pages that the common rings may keep resident while memory is sparse. The floors of all classes
     * of one kind fit, when each of their slots lies on a page of its own. */
    PINNED_BYTES = 192 * HAK_MIB,
    /* The most bytes of addresses that slots without memory may keep here: each superslab keeps its records for ever.
     * The floor of the widest class takes 154 MiB of them. */
    BARE_BYTES = 160 * HAK_MIB,
};

typedef struct common {
    void **slots; /* of all classes, one after the other; NULL: not mapped yet */
    uint32_t first[HAK_TAGS], at[HAK_TAGS], count[HAK_TAGS];
    uint64_t used[HAK_TAGS]; /* number of the last exchange of each class */
} common;

static common commons[KINDS];
static uint64_t exchanges; /* of all kinds */
static hak_rng rng;
static _Atomic size_t pinned; /* bytes of pages that the slots here may keep resident */
static _Atomic size_t bare;   /* bytes of the slots here that have no memory */
_Atomic size_t hak_common_held;

/* A slot rests for the floor of its class at least: the draw shortens its time by DRAWN at most. */
static uint32_t places_of(unsigned cls) {
    return hak_ring_floor(cls) + DRAWN;
}

static bool is_bare(unsigned cls) {
    return hak_classes[cls].size >= HAK_RING_PURGED;
}

/* True when there is no quarantine, or when it would keep memory that should go. */
static bool takes_none(unsigned cls) {
    return !hak_hardening.quarantine ||
           (is_bare(cls) && atomic_load_explicit(&hak_ring_stays, memory_order_relaxed));
}

/* Counts `more` slots; a negative number wraps around. */
static void count_held(unsigned cls, size_t more) {
    size_t bytes = more * hak_classes[cls].size;
    atomic_fetch_add_explicit(is_bare(cls) ? &hak_release_slabs_bare : &hak_common_held, bytes,
                              memory_order_relaxed);
    if (is_bare(cls))
        atomic_fetch_add_explicit(&bare, bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&pinned, more * hak_ring_pins(cls, is_bare(cls)), memory_order_relaxed);
}

static size_t room_bytes(void) {
    size_t places = 0;
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
        places += places_of(cls);
    return hak_align_up(places * sizeof(void *), hak_os_page);
}

static bool begin(common *its) {
    its->slots = (void **)hak_os_map_between(room_bytes());
    if (its->slots == NULL)
        return false;
    hak_seal_metadata((uintptr_t)its->slots, room_bytes());
    size_t places = 0;
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++) {
        its->first[cls] = (uint32_t)places;
        places += places_of(cls);
    }
    return true;
}

static void *exchange(common *its, void *obj, unsigned cls) {
    hak_lock_check_held(&hak_hardening_lock);
    void **slots = its->slots + its->first[cls];
    uint32_t places = places_of(cls), at = its->at[cls];
    uint32_t drawn = at + (hak_hardening.random ? hak_rng_below(&rng, DRAWN) : 0);
    drawn -= drawn >= places ? places : 0;
    void *out = slots[drawn];
    slots[drawn] = slots[at];
    slots[at] = obj;
    its->used[cls] = ++exchanges;
    its->at[cls] = at + 1 == places ? 0 : at + 1;
    if (out == NULL) {
        its->count[cls]++;
        count_held(cls, 1);
    }
    return out;
}

size_t hak_common_count(unsigned cls) {
    return HAK_GLANCE(commons[0].count[cls]) + HAK_GLANCE(commons[1].count[cls]);
}

void hak_common_totals(size_t *bare) {
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
        *bare += is_bare(cls) ? hak_common_count(cls) * hak_classes[cls].size : 0;
}

/* Takes up to BATCH slots of the class, the oldest first. Returns their number. */
static unsigned take(common *its, unsigned cls, void **objs) {
    unsigned count = 0;
    hak_lock_take(&hak_hardening_lock);
    void **slots = its->slots + its->first[cls];
    for (uint32_t places = places_of(cls), i = 0; its->count[cls] != 0 && i < places && count < BATCH; i++) {
        uint32_t at = (its->at[cls] + i) % places;
        if (slots[at] == NULL)
            continue;
        objs[count++] = slots[at];
        slots[at] = NULL;
        its->count[cls]--;
    }
    count_held(cls, 0 - (size_t)count);
    hak_lock_give(&hak_hardening_lock);
    return count;
}

static void flush_class(common *its, unsigned cls) {
    void *objs[BATCH];
    for (unsigned count; HAK_GLANCE(its->count[cls]) != 0 && (count = take(its, cls, objs)) != 0;) {
        hak_quarantine_turned(hak_guarded_mine, cls);
        for (unsigned i = 0; i < count; i++)
            hak_quarantine_give_home(objs[i], cls);
    }
}

static void flush(common *its) {
    for (unsigned cls = 1; HAK_GLANCE(its->slots) != NULL && cls <= HAK_CLASSES; cls++)
        flush_class(its, cls);
}

/* Sends home the class to which nothing has come for the most exchanges; `wide`: of those without memory. False: no
 * such slot rests here. */
static bool flush_unused(bool wide) {
    common *of = NULL;
    unsigned found = 0;
    hak_lock_take(&hak_hardening_lock);
    for (unsigned kind = 0; kind < KINDS; kind++)
        for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
            if (commons[kind].count[cls] != 0 && (is_bare(cls) || !wide) &&
                (found == 0 || commons[kind].used[cls] < of->used[found])) {
                of = &commons[kind];
                found = cls;
            }
    hak_lock_give(&hak_hardening_lock);
    if (found != 0)
        flush_class(of, found);
    return found != 0;
}

void hak_common_age(void) {
    while (atomic_load_explicit(&pinned, memory_order_relaxed) > PINNED_BYTES && flush_unused(false))
        ;
}

static void limit_addresses(void) {
    while (HAK_UNLIKELY(atomic_load_explicit(&bare, memory_order_relaxed) > BARE_BYTES) && flush_unused(true))
        ;
}

void *hak_common_exchange(void *obj, unsigned cls, bool typed) {
    common *its = &commons[typed];
    if (takes_none(cls))
        return obj;
    hak_lock_take(&hak_hardening_lock);
    void *out = its->slots != NULL || begin(its) ? exchange(its, obj, cls) : obj;
    hak_lock_give(&hak_hardening_lock);
    limit_addresses();
    return out;
}

void hak_common_exchange_batch(void **objs, unsigned count, unsigned cls, bool typed) {
    common *its = &commons[typed];
    if (takes_none(cls))
        return;
    hak_lock_take(&hak_hardening_lock);
    bool begun = its->slots != NULL || begin(its);
    for (unsigned i = 0; begun && i < count; i++)
        if (objs[i] != NULL)
            HAK_SHOW(objs[i], exchange(its, objs[i], cls));
    hak_lock_give(&hak_hardening_lock);
    limit_addresses();
}

/* Purges the pages of rings without a slot. */
static void purge_empty(common *its) {
    size_t left = 0;
    hak_lock_take(&hak_hardening_lock);
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
        left += its->count[cls];
    if (its->slots != NULL && left == 0)
        (void)hak_os_purge((uintptr_t)its->slots, room_bytes(), HAK_PURGE_NOW);
    hak_lock_give(&hak_hardening_lock);
}

void hak_common_flush(void) {
    for (unsigned kind = 0; kind < KINDS; kind++) {
        flush(&commons[kind]);
        purge_empty(&commons[kind]);
    }
}

void *hak_common_wrong(size_t *at, size_t *left) {
    hak_lock_check_held(&hak_hardening_lock);
    size_t places = room_bytes() / sizeof(void *);
    for (; *at < KINDS * places && *left != 0; ++*at, --*left) {
        const common *its = &commons[*at / places];
        void *obj = its->slots != NULL ? its->slots[*at % places] : NULL;
        hak_place place;
        if (obj == NULL || !hak_ledger_find(obj, &place))
            continue;
        uint32_t word = hak_record_load(place.record);
        if (word == hak_record_freed(0, word))
            continue;
        ++*at;
        return obj;
    }
    *at = *at < KINDS * places ? *at : 0;
    return NULL;
}

/* fork held the lock, so the rings are whole. */
void hak_common_fork_child(void) {
    if (rng.next != 0)
        hak_rng_seed(&rng);
}

void hak_common_reset(void) {
    for (unsigned kind = 0; kind < KINDS; kind++)
        if (commons[kind].slots != NULL)
            hak_os_unmap_between((uintptr_t)commons[kind].slots, room_bytes());
    memset(commons, 0, sizeof commons);
    exchanges = 0;
    atomic_store(&pinned, 0);
    atomic_store(&bare, 0);
    atomic_store(&hak_common_held, 0);
    rng.next = 0;
}
