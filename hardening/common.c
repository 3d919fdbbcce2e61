/* common.c: see common.h. */
#include "hardening/common.h"

#include "allocator/os/os.h"
#include "allocator/pages/release.h"
#include "hardening/ring.h"
#include "hardening/seal.h"

#include <string.h>

enum {
    DRAWN = 16,     /* the next slot to leave is one of so many oldest */
    DRAWN_BITS = 4, /* of a random number, for one draw */
    KINDS = 2,      /* without and with a partition */
    BATCH = 32,     /* slots that go home at once */
    LOCKS = 16,
    /* The most bytes of pages that the common rings may keep resident while memory is sparse. The floors of all classes
     * of one kind fit, when each of their slots lies on a page of its own. */
    PINNED_BYTES = 192 * HAK_MIB,
    /* The most bytes of addresses that slots without memory may keep here: each superslab keeps its records for ever.
     * The floor of the widest class takes 154 MiB of them. */
    BARE_BYTES = 160 * HAK_MIB,
};

/* The ring of a class; one of the locks guards it. */
typedef struct ring {
    uint32_t at, count; /* the oldest place; slots in it */
    uint64_t used;      /* the clock at the last exchange */
} ring;

typedef struct common {
    void **_Atomic shares[LOCKS]; /* places of the classes that a lock guards; NULL: not mapped yet */
    uint32_t first[HAK_TAGS];     /* the first place of each class in its share */
    ring rings[HAK_TAGS];
} common;

/* Threads that free other sizes do not wait for each other. Fewer than classes: a fork takes them all. */
static struct {
    hak_lock lock;
} __attribute__((aligned(HAK_CACHELINE))) locks[LOCKS] = {[0 ... LOCKS - 1] = {HAK_LOCK_INIT(HAK_RANK_REST)}};

static common commons[KINDS];
static _Atomic uint64_t
    clock; /* DRAWN exchanges of a class; so most exchanges write nothing that all threads read */
static _Atomic size_t pinned; /* bytes of pages that the slots here may keep resident */
static _Atomic size_t bare;   /* bytes of the slots here that have no memory */
_Atomic size_t hak_common_held;

hak_lock *hak_common_lock(unsigned i) {
    return i < LOCKS ? &locks[i].lock : NULL;
}

static hak_lock *lock_of(unsigned cls) {
    return &locks[cls % LOCKS].lock;
}

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

/* Room. -------------------------------------------------------------------------------------------------- */

/* Bytes of the places of all classes that one lock guards. */
static size_t share_bytes(unsigned lock) {
    size_t places = 0;
    for (unsigned cls = lock; cls <= HAK_CLASSES; cls += LOCKS)
        places += cls != 0 ? places_of(cls) : 0;
    return hak_align_up(places * sizeof(void *), hak_os_page);
}

static void begin_locked(common *its, unsigned lock) {
    hak_lock_check_held(&hak_hardening_lock);
    void **share = (void **)hak_os_map_between(share_bytes(lock));
    if (share == NULL)
        return;
    hak_seal_metadata((uintptr_t)share, share_bytes(lock));
    for (unsigned cls = lock, first = 0; cls <= HAK_CLASSES; cls += LOCKS) {
        its->first[cls] = first;
        first += cls != 0 ? places_of(cls) : 0;
    }
    /* release: the mapping and `first` come before; pairs with share_of */
    atomic_store_explicit(&its->shares[lock], share, memory_order_release);
}

static void **share_of(const common *its, unsigned lock) {
    return atomic_load_explicit(&its->shares[lock], memory_order_acquire);
}

/* The places of the class; NULL: none were mapped. */
static void **slots_of(const common *its, unsigned cls) {
    void **share = share_of(its, cls % LOCKS);
    return share != NULL ? share + its->first[cls] : NULL;
}

/* False: the OS has no memory for places. */
static bool begun(common *its, unsigned cls) {
    unsigned lock = cls % LOCKS;
    if (HAK_LIKELY(share_of(its, lock) != NULL))
        return true;
    hak_lock_take(&hak_hardening_lock);
    if (share_of(its, lock) == NULL)
        begin_locked(its, lock);
    hak_lock_give(&hak_hardening_lock);
    return share_of(its, lock) != NULL;
}

/* In. ---------------------------------------------------------------------------------------------------- */

/* `drawn`: the place among the oldest, of the slot that leaves. */
static void *exchange_locked(common *its, void *obj, unsigned cls, uint32_t drawn) {
    hak_lock_check_held(lock_of(cls));
    ring *ring = &its->rings[cls];
    void **slots = slots_of(its, cls);
    uint32_t places = places_of(cls), at = ring->at;
    drawn += at;
    drawn -= drawn >= places ? places : 0;
    void *out = slots[drawn];
    slots[drawn] = slots[at];
    slots[at] = obj;
    if (at % DRAWN == 0)
        atomic_fetch_add_explicit(&clock, 1, memory_order_relaxed);
    HAK_SHOW(ring->used, atomic_load_explicit(&clock, memory_order_relaxed));
    ring->at = at + 1 == places ? 0 : at + 1;
    if (out == NULL) {
        HAK_SHOW(ring->count, ring->count + 1);
        count_held(cls, 1);
    }
    return out;
}

static bool flush_unused(bool wide);

static void limit_addresses(void) {
    while (HAK_UNLIKELY(atomic_load_explicit(&bare, memory_order_relaxed) > BARE_BYTES) && flush_unused(true))
        ;
}

bool hak_common_exchange(void **objs, unsigned count, unsigned cls, bool typed) {
    common *its = &commons[typed];
    hak_lock *lock = lock_of(cls);
    if (takes_none(cls) || !begun(its, cls))
        return false;
    uint64_t draws = hak_hardening.random ? hak_random_next() : 0;
    bool waits = hak_lock_is_taken(lock);
    hak_lock_take(lock);
    for (unsigned i = 0; i < count; i++, draws >>= DRAWN_BITS)
        if (objs[i] != NULL)
            HAK_SHOW(objs[i], exchange_locked(its, objs[i], cls, (uint32_t)(draws % DRAWN)));
    hak_lock_give(lock);
    limit_addresses();
    return waits;
}

/* Home. -------------------------------------------------------------------------------------------------- */

/* Takes up to BATCH slots of the class, the oldest first. Returns their number. */
static unsigned take(common *its, unsigned cls, void **objs) {
    unsigned count = 0;
    ring *ring = &its->rings[cls];
    void **slots = slots_of(its, cls);
    hak_lock_take(lock_of(cls));
    for (uint32_t places = places_of(cls), i = 0; ring->count != 0 && i < places && count < BATCH; i++) {
        uint32_t at = (ring->at + i) % places;
        if (slots[at] == NULL)
            continue;
        objs[count++] = slots[at];
        slots[at] = NULL;
        HAK_SHOW(ring->count, ring->count - 1);
    }
    count_held(cls, 0 - (size_t)count);
    hak_lock_give(lock_of(cls));
    return count;
}

static void flush_class(common *its, unsigned cls) {
    void *objs[BATCH];
    for (unsigned count; HAK_GLANCE(its->rings[cls].count) != 0 && (count = take(its, cls, objs)) != 0;) {
        hak_quarantine_turned(hak_guarded_mine, cls);
        for (unsigned i = 0; i < count; i++)
            hak_quarantine_give_home(objs[i], cls);
    }
}

/* Sends home the class to which nothing has come for longest by the clock; `wide`: of those without memory. False: no
 * such slot rests here. */
static bool flush_unused(bool wide) {
    common *of = NULL;
    unsigned found = 0;
    uint64_t oldest = UINT64_MAX;
    for (unsigned kind = 0; kind < KINDS; kind++)
        for (unsigned cls = 1; cls <= HAK_CLASSES; cls++) {
            const ring *ring = &commons[kind].rings[cls];
            uint64_t used = HAK_GLANCE(ring->used);
            if (HAK_GLANCE(ring->count) == 0 || (wide && !is_bare(cls)) || used >= oldest)
                continue;
            of = &commons[kind];
            found = cls;
            oldest = used;
        }
    if (found != 0)
        flush_class(of, found);
    return found != 0;
}

void hak_common_age(void) {
    while (atomic_load_explicit(&pinned, memory_order_relaxed) > PINNED_BYTES && flush_unused(false))
        ;
}

/* Purges the pages of the places that a lock guards, if none holds a slot. */
static void purge_empty(const common *its, unsigned lock) {
    hak_lock_take(&locks[lock].lock);
    size_t left = 0;
    for (unsigned cls = lock; cls <= HAK_CLASSES; cls += LOCKS)
        left += its->rings[cls].count;
    void **share = share_of(its, lock);
    if (share != NULL && left == 0)
        (void)hak_os_purge((uintptr_t)share, share_bytes(lock), HAK_PURGE_NOW);
    hak_lock_give(&locks[lock].lock);
}

void hak_common_flush(void) {
    for (unsigned kind = 0; kind < KINDS; kind++) {
        for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
            flush_class(&commons[kind], cls);
        for (unsigned lock = 0; lock < LOCKS; lock++)
            purge_empty(&commons[kind], lock);
    }
}

/* Reading. ----------------------------------------------------------------------------------------------- */

size_t hak_common_count(unsigned cls) {
    return HAK_GLANCE(commons[0].rings[cls].count) + HAK_GLANCE(commons[1].rings[cls].count);
}

void hak_common_totals(size_t *bare_bytes) {
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
        *bare_bytes += is_bare(cls) ? hak_common_count(cls) * hak_classes[cls].size : 0;
}

bool hak_common_next(hak_common_place *place) {
    for (; place->kind < KINDS; place->kind++, place->cls = 1)
        for (; place->cls <= HAK_CLASSES; place->cls++, place->at = 0)
            if (HAK_GLANCE(commons[place->kind].rings[place->cls].count) != 0)
                return true;
    return false;
}

hak_lock *hak_common_place_lock(const hak_common_place *place) {
    return lock_of(place->cls);
}

void *hak_common_wrong(hak_common_place *place, size_t *left) {
    hak_lock_check_held(lock_of(place->cls));
    void **slots = slots_of(&commons[place->kind], place->cls);
    for (uint32_t places = places_of(place->cls); place->at < places; place->at++, --*left) {
        void *obj = slots[place->at];
        hak_place found;
        if (*left == 0)
            return NULL;
        if (obj == NULL || !hak_ledger_find(obj, &found))
            continue;
        uint32_t word = hak_record_load(found.record);
        if (word == hak_record_freed(0, word))
            continue;
        place->at++;
        return obj;
    }
    place->cls++;
    place->at = 0;
    return NULL;
}

void hak_common_reset(void) {
    for (unsigned kind = 0; kind < KINDS; kind++)
        for (unsigned lock = 0; lock < LOCKS; lock++)
            if (share_of(&commons[kind], lock) != NULL)
                hak_os_unmap_between((uintptr_t)share_of(&commons[kind], lock), share_bytes(lock));
    memset(commons, 0, sizeof commons);
    atomic_store(&clock, 0);
    atomic_store(&pinned, 0);
    atomic_store(&bare, 0);
    atomic_store(&hak_common_held, 0);
}
