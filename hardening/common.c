/* common.c: see common.h. */
#include "hardening/common.h"

#include "allocator/os/os.h"
#include "allocator/pages/release.h"
#include "hardening/ring.h"
#include "hardening/seal.h"

#include <string.h>

enum {
    DRAWN = 16,     /* the next one to leave is one of so many oldest */
    KINDS = 2,      /* without and with a partition */
    BATCH = 32,     /* taken home at a time */
    UNUSED_MS = 50, /* see hak_common_age */
};

typedef struct common {
    void **slots; /* of all classes, one after the other; NULL: not mapped yet */
    uint32_t first[HAK_TAGS], at[HAK_TAGS], count[HAK_TAGS];
    uint32_t came[HAK_TAGS], seen[HAK_TAGS]; /* how many came in all, and when that was last looked at */
    uint64_t used_at[HAK_TAGS];              /* when it had changed then, milliseconds */
} common;

static common commons[KINDS];
static hak_rng rng;
_Atomic size_t hak_common_held;

/* The least time that a slot rests is the floor of the class: a draw makes it shorter by DRAWN at most. */
static uint32_t places_of(unsigned cls) {
    return hak_ring_floor(cls) + DRAWN;
}

static size_t pins(unsigned cls) {
    return hak_classes[cls].size >= HAK_RING_PURGED ? hak_os_page : hak_ring_pins(cls);
}

/* There is no quarantine, or it would keep memory that should go. */
static bool takes_none(unsigned cls) {
    return !hak_hardening.quarantine || (hak_classes[cls].size >= HAK_RING_PURGED &&
                                         atomic_load_explicit(&hak_ring_stays, memory_order_relaxed));
}

/* So many slots more, or less: it wraps around. */
static void count_held(unsigned cls, size_t more) {
    bool bare = hak_classes[cls].size >= HAK_RING_PURGED;
    atomic_fetch_add_explicit(bare ? &hak_release_slabs_bare : &hak_common_held, more * hak_classes[cls].size,
                              memory_order_relaxed);
    atomic_fetch_add_explicit(&hak_ring_pinned, more * pins(cls), memory_order_relaxed);
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
    its->came[cls]++;
    its->at[cls] = at + 1 == places ? 0 : at + 1;
    if (out == NULL) {
        its->count[cls]++;
        count_held(cls, 1);
    }
    return out;
}

void *hak_common_exchange(void *obj, unsigned cls, bool typed) {
    common *its = &commons[typed];
    if (takes_none(cls))
        return obj;
    hak_lock_take(&hak_hardening_lock);
    void *out = its->slots != NULL || begin(its) ? exchange(its, obj, cls) : obj;
    hak_lock_give(&hak_hardening_lock);
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
}

size_t hak_common_count(unsigned cls) {
    return HAK_GLANCE(commons[0].count[cls]) + HAK_GLANCE(commons[1].count[cls]);
}

void hak_common_totals(size_t *bare, size_t *pinned) {
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++) {
        *bare += hak_classes[cls].size >= HAK_RING_PURGED ? hak_common_count(cls) * hak_classes[cls].size : 0;
        *pinned += hak_common_count(cls) * pins(cls);
    }
}

/* Up to BATCH of the class, the oldest first; how many. */
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

/* Two threads may do this at once, and then miss a turn. */
static void look(common *its, uint64_t now) {
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++) {
        uint32_t came = HAK_GLANCE(its->came[cls]);
        if (came != HAK_GLANCE(its->seen[cls]))
            HAK_SHOW(its->used_at[cls], now);
        HAK_SHOW(its->seen[cls], came);
    }
}

static unsigned unused_longest(const common *its, uint64_t now) {
    unsigned found = 0;
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++) {
        uint64_t used_at = HAK_GLANCE(its->used_at[cls]);
        if (HAK_GLANCE(its->count[cls]) != 0 && now - used_at >= UNUSED_MS &&
            (found == 0 || used_at < HAK_GLANCE(its->used_at[found])))
            found = cls;
    }
    return found;
}

void hak_common_age(uint64_t now) {
    for (unsigned kind = 0; kind < KINDS; kind++) {
        common *its = &commons[kind];
        if (HAK_GLANCE(its->slots) == NULL)
            continue;
        look(its, now);
        for (unsigned cls; hak_ring_pins_too_much() && (cls = unused_longest(its, now)) != 0;)
            flush_class(its, cls);
    }
}

/* Places that nothing rests in need not be resident. */
static void purge_empty(common *its) {
    hak_lock_take(&hak_hardening_lock);
    if (its->slots != NULL && hak_common_held == 0)
        (void)hak_os_purge((uintptr_t)its->slots, room_bytes(), HAK_PURGE_NOW);
    hak_lock_give(&hak_hardening_lock);
}

void hak_common_flush(void) {
    for (unsigned kind = 0; kind < KINDS; kind++)
        flush(&commons[kind]);
    for (unsigned kind = 0; kind < KINDS; kind++)
        purge_empty(&commons[kind]);
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

/* Fork had the lock, so the rings are whole. */
void hak_common_fork_child(void) {
    if (rng.next != 0)
        hak_rng_seed(&rng);
}

void hak_common_reset(void) {
    for (unsigned kind = 0; kind < KINDS; kind++)
        if (commons[kind].slots != NULL)
            hak_os_unmap_between((uintptr_t)commons[kind].slots, room_bytes());
    memset(commons, 0, sizeof commons);
    atomic_store(&hak_ring_pinned, 0);
    hak_common_held = 0;
    rng.next = 0;
}
