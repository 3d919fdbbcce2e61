/* common.c: see common.h. */
#include "hardening/common.h"

#include "allocator/os/os.h"
#include "allocator/pages/release.h"
#include "hardening/ring.h"
#include "hardening/seal.h"
#include "hardening/tally.h"

#include <string.h>

enum {
    DRAWN = 16,     /* the next slot to leave is one of so many oldest */
    DRAWN_BITS = 4, /* of a random number, for one draw */
    BATCH = 32,     /* slots that go home at once */
    LOCKS = 16,
    FLOORS_MOST =
        3, /* floors: the longest that a ring gets while its oldest slots have not rested for theirs */
    GROWS_PART = 2, /* of a floor: so much it grows at once */
    /* The most bytes of pages that the common rings of a kind may keep resident while memory is sparse. The floors of
     * all classes fit, when each of their slots lies on a page of its own. */
    PINNED_BYTES = 192 * HAK_MIB,
    /* The most bytes of addresses that slots of a kind without memory may keep here: each superslab keeps its records
     * for ever. The floor of the widest class takes 154 MiB of them. SHARES_BYTES are for all classes alike. */
    BARE_BYTES = 256 * HAK_MIB,
    SHARES_BYTES = 96 * HAK_MIB,
};

/* The ring of a class; one of the locks guards it. */
typedef struct ring {
    uint32_t at, count; /* the oldest place; slots in it, one behind the other */
    uint32_t places;    /* behind the last one the first one follows */
    uint32_t exchanges;
    uint64_t used; /* the clock at the last exchange */
} ring;

typedef struct common {
    /* Places of the classes that a lock guards, then the stamps of their slots; NULL: not mapped yet. */
    void **_Atomic shares[LOCKS];
    uint32_t *stamps[LOCKS];
    uint32_t first[HAK_TAGS]; /* the first place of each class in its share */
    ring rings[HAK_TAGS];
    _Atomic size_t pinned; /* bytes of pages that the slots may keep resident */
    _Atomic size_t bare;   /* bytes of the slots that have no memory */
} common;

/* Threads that free other sizes do not wait for each other. Fewer than classes: a fork takes them all. */
static struct {
    hak_lock lock;
} __attribute__((aligned(HAK_CACHELINE))) locks[LOCKS] = {[0 ... LOCKS - 1] = {HAK_LOCK_INIT(HAK_RANK_REST)}};

static common commons[HAK_KINDS];
static _Atomic uint64_t
    clock; /* DRAWN exchanges of a class; so most exchanges write nothing that all threads read */
_Atomic size_t hak_common_held;

hak_lock *hak_common_lock(unsigned i) {
    return i < LOCKS ? &locks[i].lock : NULL;
}

static hak_lock *lock_of(unsigned cls) {
    return &locks[cls % LOCKS].lock;
}

/* A ring with so many slots is full: the draw shortens a slot's time by DRAWN at most. */
static uint32_t places_of(unsigned cls) {
    return hak_ring_floor(cls) + DRAWN;
}
static uint32_t places_most(unsigned cls) {
    return FLOORS_MOST * hak_ring_floor(cls) + DRAWN;
}

static bool is_bare(unsigned cls) {
    return hak_classes[cls].size >= HAK_RING_PURGED;
}

/* Counts `more` slots; a negative number wraps around. */
static void count_held(common *its, unsigned cls, size_t more) {
    size_t bytes = more * hak_classes[cls].size;
    atomic_fetch_add_explicit(is_bare(cls) ? &hak_release_slabs_bare : &hak_common_held, bytes,
                              memory_order_relaxed);
    if (is_bare(cls))
        atomic_fetch_add_explicit(&its->bare, bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&its->pinned, more * hak_ring_pins(cls, is_bare(cls)), memory_order_relaxed);
}

/* Room. -------------------------------------------------------------------------------------------------- */

/* Places of all classes that one lock guards, and their bytes together with those of the stamps. */
static size_t share_places(unsigned lock) {
    size_t places = 0;
    for (unsigned cls = lock; cls <= HAK_CLASSES; cls += LOCKS)
        places += cls != 0 ? places_most(cls) : 0;
    return places;
}
static size_t share_bytes(unsigned lock) {
    return hak_align_up(share_places(lock) * (sizeof(void *) + sizeof(uint32_t)), hak_os_page);
}

static void begin_locked(common *its, unsigned lock) {
    hak_lock_check_held(&hak_hardening_lock);
    void **share = (void **)hak_os_map_between(share_bytes(lock));
    if (share == NULL)
        return;
    hak_seal_metadata((uintptr_t)share, share_bytes(lock));
    for (unsigned cls = lock, first = 0; cls <= HAK_CLASSES; cls += LOCKS) {
        its->first[cls] = first;
        its->rings[cls].places = places_of(cls);
        first += cls != 0 ? places_most(cls) : 0;
    }
    its->stamps[lock] = (uint32_t *)(share + share_places(lock));
    /* release: the mapping and what says where things lie in it come before; pairs with share_of */
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

/* In and out. -------------------------------------------------------------------------------------------- */

/* One class's ring, for the time for which its lock is held. */
typedef struct queue {
    ring *ring;
    void **slots;
    uint32_t *stamps;
    unsigned cls;
    bool typed;
} queue;

static queue queue_of(bool typed, unsigned cls) {
    common *its = &commons[typed];
    return (queue){&its->rings[cls], slots_of(its, cls), its->stamps[cls % LOCKS] + its->first[cls], cls,
                   typed};
}

/* The place `i` behind the oldest one. */
static uint32_t place_at(const queue *of, uint32_t i) {
    uint32_t at = of->ring->at + i;
    return at < of->ring->places ? at : at - of->ring->places;
}

/* Enough slots of the class were freed since. */
static bool has_rested(const queue *of, uint32_t stamp) {
    return hak_tally_since(of->typed, of->cls, stamp) >= hak_ring_floor(of->cls);
}
static bool oldest_has_rested(const queue *of) {
    return has_rested(of, of->stamps[of->ring->at]);
}

/* Takes the slot in the place `i` behind the oldest, which moves there. */
static void *take_locked(const queue *of, uint32_t i) {
    uint32_t at = of->ring->at, drawn = place_at(of, i);
    void *obj = of->slots[drawn];
    of->slots[drawn] = of->slots[at];
    of->stamps[drawn] = of->stamps[at];
    of->slots[at] = NULL;
    of->ring->at = place_at(of, 1);
    HAK_SHOW(of->ring->count, of->ring->count - 1);
    return obj;
}

/* More places behind the last slot. Where the slots go round, those at the end of the ring move behind the new ones. */
static void grow_locked(const queue *of) {
    ring *ring = of->ring;
    uint32_t floor = hak_ring_floor(of->cls), more = hak_max(1, floor / GROWS_PART);
    more = hak_min(more, places_most(of->cls) - ring->places);
    uint32_t behind = ring->places - ring->at;
    if (ring->at != 0) {
        memmove(of->slots + ring->at + more, of->slots + ring->at, behind * sizeof *of->slots);
        memmove(of->stamps + ring->at + more, of->stamps + ring->at, behind * sizeof *of->stamps);
        memset(of->slots + ring->at, 0, hak_min(more, behind) * sizeof *of->slots);
        ring->at += more;
    }
    ring->places += more;
}

/* Behind all slots that were freed before. One that was freed just now has no slot to pass, and those of a state come
 * in their order: only where threads end in another order than they have freed there is much to pass. */
static void put_locked(const queue *of, void *obj, uint32_t stamp) {
    uint32_t at = place_at(of, of->ring->count), before;
    for (uint32_t i = of->ring->count; i != 0; i--, at = before) {
        before = place_at(of, i - 1);
        if ((int32_t)(of->stamps[before] - stamp) <= 0)
            break;
        of->slots[at] = of->slots[before];
        of->stamps[at] = of->stamps[before];
    }
    of->slots[at] = obj;
    of->stamps[at] = stamp;
    HAK_SHOW(of->ring->count, of->ring->count + 1);
}

/* `drawn`: the place among the oldest, of the slot that leaves. */
static void *exchange_locked(const queue *of, void *obj, uint32_t stamp, uint32_t drawn) {
    hak_lock_check_held(lock_of(of->cls));
    ring *ring = of->ring;
    void *out = NULL;
    if (ring->exchanges++ % DRAWN == 0)
        atomic_fetch_add_explicit(&clock, 1, memory_order_relaxed);
    HAK_SHOW(ring->used, atomic_load_explicit(&clock, memory_order_relaxed));
    if (ring->count >= places_of(of->cls) && oldest_has_rested(of))
        out = take_locked(of, has_rested(of, of->stamps[place_at(of, drawn)]) ? drawn : 0);
    else if (ring->count == places_most(of->cls))
        out = take_locked(of, 0); /* no memory for more: this one leaves early */
    else if (ring->count == ring->places)
        grow_locked(of);
    put_locked(of, obj, stamp);
    if (out == NULL)
        count_held(&commons[of->typed], of->cls, 1);
    return out;
}

/* Takes slots that have rested, while the ring holds more than it does when it is full. Returns their number. */
static unsigned take_more_locked(const queue *of, void **objs) {
    unsigned count = 0;
    while (of->ring->count > places_of(of->cls) && count < BATCH && oldest_has_rested(of))
        objs[count++] = take_locked(of, 0);
    if (count != 0)
        count_held(&commons[of->typed], of->cls, 0 - (size_t)count);
    return count;
}

static void give_home(void **objs, unsigned count, unsigned cls) {
    if (count != 0)
        hak_quarantine_turned(hak_guarded_mine, cls);
    for (unsigned i = 0; i < count; i++)
        hak_quarantine_give_home(objs[i], cls);
}

static void limit_addresses(common *its);

bool hak_common_exchange(void **objs, unsigned count, unsigned cls, bool typed) {
    hak_lock *lock = lock_of(cls);
    void *more[BATCH];
    if (!hak_hardening.quarantine || !begun(&commons[typed], cls))
        return false;
    uint64_t draws = hak_hardening.random ? hak_random_next() : 0;
    bool waits = hak_lock_is_taken(lock);
    hak_lock_take(lock);
    queue of = queue_of(typed, cls);
    uint32_t stamp = hak_tally_most(typed, cls);
    for (unsigned i = 0; i < count; i++, draws >>= DRAWN_BITS)
        if (objs[i] != NULL)
            HAK_SHOW(objs[i], exchange_locked(&of, objs[i], stamp, (uint32_t)(draws % DRAWN)));
    count = take_more_locked(&of, more);
    hak_lock_give(lock);
    give_home(more, count, cls);
    limit_addresses(&commons[typed]);
    return waits;
}

void *hak_common_rest(void *obj, unsigned cls, bool typed, uint32_t stamp) {
    if (!hak_hardening.quarantine || !begun(&commons[typed], cls))
        return obj;
    hak_lock_take(lock_of(cls));
    queue of = queue_of(typed, cls);
    /* a full ring keeps those that have not rested */
    if (of.ring->count < places_of(cls) || !has_rested(&of, stamp))
        obj = exchange_locked(&of, obj, stamp, 0);
    hak_lock_give(lock_of(cls));
    limit_addresses(&commons[typed]);
    return obj;
}

/* Home. -------------------------------------------------------------------------------------------------- */

/* Sends up to BATCH slots of the class home, the oldest first, but not the last `kept`. */
static void flush_batch(common *its, unsigned cls, uint32_t kept) {
    void *objs[BATCH];
    unsigned count = 0;
    hak_lock_take(lock_of(cls));
    queue of = queue_of(its == &commons[true], cls);
    while (of.ring->count > kept && count < BATCH)
        objs[count++] = take_locked(&of, 0);
    if (of.ring->count == 0) {
        of.ring->at = 0;
        of.ring->places = places_of(cls);
    }
    count_held(its, cls, 0 - (size_t)count);
    hak_lock_give(lock_of(cls));
    give_home(objs, count, cls);
}

static void flush_class(common *its, unsigned cls) {
    while (HAK_GLANCE(its->rings[cls].count) != 0)
        flush_batch(its, cls, 0);
}

/* The class that holds more than `least` bytes and to which nothing has come for longest by the clock; 0: none. */
static unsigned unused_longest(const common *its, unsigned first, size_t least) {
    unsigned found = 0;
    uint64_t oldest = UINT64_MAX;
    for (unsigned cls = first; cls <= HAK_CLASSES; cls++) {
        uint64_t used = HAK_GLANCE(its->rings[cls].used);
        if (HAK_GLANCE(its->rings[cls].count) * (size_t)hak_classes[cls].size > least && used < oldest) {
            found = cls;
            oldest = used;
        }
    }
    return found;
}

/* No class loses its share to another one: that is the floor of slots up to HAK_RING_BARE bytes. */
static void limit_addresses(common *its) {
    while (HAK_UNLIKELY(atomic_load_explicit(&its->bare, memory_order_relaxed) > BARE_BYTES)) {
        unsigned first = hak_class_of(HAK_RING_PURGED);
        size_t share = SHARES_BYTES / (HAK_CLASSES - first + 1);
        unsigned cls = unused_longest(its, first, share);
        if (cls == 0)
            return; /* other threads have sent some home */
        flush_batch(its, cls, (uint32_t)(share / hak_classes[cls].size));
    }
}

/* Slots that have rested meanwhile, because threads freed others of the class in their own rings. */
static void drain(common *its, unsigned cls) {
    void *objs[BATCH];
    unsigned count = BATCH;
    while (count == BATCH && HAK_GLANCE(its->rings[cls].count) > places_of(cls)) {
        hak_lock_take(lock_of(cls));
        queue of = queue_of(its == &commons[true], cls);
        count = take_more_locked(&of, objs);
        hak_lock_give(lock_of(cls));
        give_home(objs, count, cls);
    }
}

void hak_common_idle(void) {
    for (unsigned kind = 0; kind < HAK_KINDS; kind++)
        for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
            drain(&commons[kind], cls);
}

void hak_common_age(void) {
    for (unsigned kind = 0; kind < HAK_KINDS; kind++)
        for (unsigned cls = 1;
             cls != 0 && atomic_load_explicit(&commons[kind].pinned, memory_order_relaxed) > PINNED_BYTES;) {
            cls = unused_longest(&commons[kind], 1, 0);
            flush_class(&commons[kind], cls);
        }
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
    for (unsigned kind = 0; kind < HAK_KINDS; kind++) {
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
    for (; place->kind < HAK_KINDS; place->kind++, place->cls = 1)
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
    for (uint32_t places = commons[place->kind].rings[place->cls].places; place->at < places;
         place->at++, --*left) {
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
    for (unsigned kind = 0; kind < HAK_KINDS; kind++)
        for (unsigned lock = 0; lock < LOCKS; lock++)
            if (share_of(&commons[kind], lock) != NULL)
                hak_os_unmap_between((uintptr_t)share_of(&commons[kind], lock), share_bytes(lock));
    memset(commons, 0, sizeof commons);
    atomic_store(&clock, 0);
    atomic_store(&hak_common_held, 0);
}
