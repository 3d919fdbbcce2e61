/* ring_turn.c: what happens when a ring has come round, and when its slots have become old; see ring.h. */
#include "hardening/ring_own.h"

#include "allocator/heap/depot.h"
#include "allocator/os/os.h"
#include "allocator/pages/mapped_limit.h"
#include "hardening/common.h"

enum {
    RING_FIRST = 64, /* places of a new ring */
    /* Weight of the bytes that other long rings hold: a thread that uses many of these classes keeps their floors. */
    OTHERS_WEIGHT = 16,
    /* The most that all threads together may hold; the last part of it is for floors alone. */
    TOTAL_BYTES = 24 * HAK_MIB,
    FLOORS_BYTES = 8 * HAK_MIB,
    /* While memory is sparse, the pages that threads' rings may keep resident. Beyond that the classes that were not
     * used for longest go on to the common rings. */
    PINNED_BYTES = 160 * HAK_MIB,
    /* When a class wants to grow, the class that holds most above its floor gives up this part of its ring. */
    STEAL_PART = 8,
    /* malloc_trim leaves TRIMMED_BYTES to the calling thread, and no slots above TRIMMED_SLOT. */
    TRIMMED_BYTES = 256 * HAK_KIB,
    TRIMMED_SLOT = 4 * HAK_KIB,
    /* After UNUSED_MS the slots of a class of which the thread has freed nothing since go on to the common ring; after
     * SPARSE_MS, while memory is sparse, those above the floor go home, and the pages around the others go back. */
    UNUSED_MS = 10 * 1000,
    SPARSE_MS = 10,
    AROUND_BYTES = 4 * HAK_MIB, /* of slots whose pages one look gives back: no call shall take long */
};

/* Growth. ------------------------------------------------------------------------------------------------ */

static size_t ring_bytes(const hak_guarded *mine, unsigned cls) {
    return mine->rings[cls].limit * (size_t)hak_classes[cls].size;
}

/* The long ring, but that of `but`, that holds most above its floor; 0: none holds any. */
static unsigned longest_other(const hak_guarded *mine, unsigned but) {
    unsigned found = 0;
    size_t most = 0;
    for (unsigned cls = 1; hak_ring_is_long(cls); cls++) {
        uint32_t limit = mine->rings[cls].limit, floor = hak_ring_floor(cls);
        size_t bytes = (limit - hak_min(limit, floor)) * (size_t)hak_classes[cls].size;
        if (bytes > most && cls != but) {
            most = bytes;
            found = cls;
        }
    }
    return found;
}

/* True when the thread has freed nothing of the class since the last call for the same class. */
static bool is_idle(hak_guarded *mine, unsigned cls) {
    void **in = mine->rings[cls].in;
    bool same = mine->idle_cls == cls && mine->idle_in == in;
    mine->idle_cls = cls;
    mine->idle_in = in;
    return same;
}

/* Shortens the longest other ring, by what it has above its floor. False: there is none, or it is in use and holds less
 * than `least` bytes; 0: whether it is in use does not count. */
static bool steal(hak_guarded *mine, unsigned cls, size_t least) {
    unsigned from = longest_other(mine, cls);
    bool idle = from != 0 && least != 0 && is_idle(mine, from);
    if (from == 0 || (ring_bytes(mine, from) < least && !idle))
        return false;
    uint32_t limit = mine->rings[from].limit, above = limit - hak_ring_floor(from);
    hak_ring_shorten(mine, from, hak_min(above, hak_max(1, limit / STEAL_PART)), hak_ring_home);
    if (mine->idle_cls == from)
        mine->idle_in = mine->rings[from].in;
    return true;
}

/* True when the thread may hold `bytes` more in this long ring. Against deep rings only deep ones count: the others
 * hold little. The longest ring gives places only while it holds more than twice as much, else the two would take from
 * each other in turn; or when it is idle. */
static bool thread_allows(hak_guarded *mine, unsigned cls, size_t bytes) {
    size_t own = ring_bytes(mine, cls), all = 0;
    for (unsigned other = 1; hak_ring_is_deep(cls) ? hak_ring_is_deep(other) : hak_ring_is_long(other);
         other++)
        all += ring_bytes(mine, other);
    return own + bytes + OTHERS_WEIGHT * (all - own) <= hak_ring_thread_bytes() ||
           steal(mine, cls, 2 * own + HAK_RING_STEP);
}

/* True when all threads together may hold `bytes` more. When they may not, slots of ended threads go on first. */
static bool total_allows(size_t bytes, bool below) {
    size_t most = hak_max((size_t)TOTAL_BYTES, 2 * hak_ring_thread_bytes()) - (below ? 0 : FLOORS_BYTES);
    if (atomic_load_explicit(&hak_quarantine_held, memory_order_relaxed) + bytes <= most)
        return true;
    hak_quarantine_rest_ended();
    return atomic_load_explicit(&hak_quarantine_held, memory_order_relaxed) + bytes <= most;
}

/* How many more places the ring may have; 0 when none. */
static uint32_t places_more(hak_guarded *mine, unsigned cls) {
    uint32_t limit = mine->rings[cls].limit, most = mine->most[cls];
    uint32_t floor = hak_min(hak_ring_floor(cls), most);
    bool below = limit < floor;
    size_t size = hak_ring_cost(cls);
    uint32_t more =
        (uint32_t)hak_min(hak_max(RING_FIRST, limit), (below ? floor : hak_max(limit, most)) - limit);
    if (more * size > HAK_RING_STEP)
        more = (uint32_t)hak_max(1, HAK_RING_STEP / size);
    if (more == 0 || (!below && !thread_allows(mine, cls, more * size)))
        return 0;
    while (!total_allows(more * size, below)) /* floors come first */
        if (!below || !steal(mine, cls, 0))
            return 0;
    return more;
}

/* Makes the ring longer, when class, thread and process allow it. */
static bool ring_extend(hak_guarded *mine, unsigned cls) {
    hak_ring *ring = &mine->rings[cls];
    uint32_t more = places_more(mine, cls);
    if (more == 0 || !hak_ring_map(mine, cls, ring->limit + more))
        return false;
    hak_ring_swap_open(mine, cls, false);
    hak_ring_more(mine, cls, more);
    return true;
}

/* Turns. ------------------------------------------------------------------------------------------------- */

/* Places of a ring that is a front, at first. */
static uint32_t front_places(unsigned cls) {
    size_t size = hak_classes[cls].size;
    return size <= 256 ? 4 : size <= 1024 ? 2 : 1;
}

/* The same when other threads were in the way at the common ring: the slots of busy threads are worth their memory. */
static uint32_t front_most(unsigned cls) {
    uint32_t places = front_places(cls);
    return places > 1 ? places * (HAK_COMMON_BATCH / 4) : 1;
}

static void front_grow(hak_guarded *mine, unsigned cls) {
    uint32_t limit = mine->rings[cls].limit, more = front_most(cls) - limit;
    more = hak_min(more, limit);
    if (more != 0 && hak_ring_map(mine, cls, limit + more))
        hak_ring_more(mine, cls, more);
}

/* True when slots would leave the ring before their floor. */
static bool is_front(const hak_guarded *mine, unsigned cls) {
    return mine->rings[cls].limit < mine->floors[cls];
}

/* Of a ring without places too, which has no address to count from. */
static uint32_t places_left(const hak_ring *ring) {
    return ring->limit - (uint32_t)(ring->in - ring->slots);
}

/* The next HAK_COMMON_BATCH places are empty. Behind the end of a ring HAK_RING_AHEAD places are. */
static bool is_empty_ahead(void *const *places) {
    uintptr_t any = 0;
    for (unsigned i = 0; i < HAK_COMMON_BATCH; i++)
        any |= (uintptr_t)places[i];
    return any == 0;
}

/* The ring goes on to its end, which is not here. */
static void go_on(hak_guarded *mine, unsigned cls) {
    uint32_t left = places_left(&mine->rings[cls]);
    (void)hak_ring_open(mine, cls, hak_min(left, hak_ring_block(mine, cls)), false);
}

static void place_home(void **place, unsigned cls) {
    void *obj = *place;
    HAK_SHOW(*place, NULL);
    hak_quarantine_give_home(obj, cls);
}

/* The slots that leave next go on to the common ring, and as many others come back. Few at a time: each free sends one
 * slot on, so that what a thread freed long ago does not drive out at once what others have freed since. */
static void front_step(hak_guarded *mine, unsigned cls) {
    hak_ring *ring = &mine->rings[cls];
    uint32_t count = hak_min(places_left(ring), front_most(cls));
    if (is_empty_ahead(ring->in)) { /* it is growing */
        go_on(mine, cls);
        return;
    }
    (void)hak_ring_open(mine, cls, count, true);
    for (uint32_t i = 0; i < count; i++)
        if (ring->in[i] != NULL) {
            hak_ring_disown(mine, ring->in[i]);
            if (!hak_ring_purge_wide(ring->in[i], cls))
                place_home(&ring->in[i], cls);
        }
    if (hak_common_exchange(ring->in, count, cls, mine->typed) && ring->limit < front_most(cls))
        front_grow(mine, cls);
}

/* A block has ended, but not the ring. */
static void step(hak_guarded *mine, unsigned cls) {
    if (is_front(mine, cls))
        front_step(mine, cls);
    else
        go_on(mine, cls);
}

/* The ring has come round and may not grow to its floor: it is a front. False: there is no room for a place. */
static bool front_turn(hak_guarded *mine, unsigned cls) {
    hak_ring *ring = &mine->rings[cls];
    uint32_t places = front_places(cls);
    if (ring->limit == 0) {
        if (mine->most[cls] < places || !hak_ring_map(mine, cls, places))
            return false;
        hak_ring_swap_open(mine, cls, true);
        hak_ring_more(mine, cls, places);
    }
    HAK_SHOW(ring->in, ring->slots);
    ring->stop = ring->in;
    front_step(mine, cls);
    return true;
}

/* The ring has come to its end: it becomes longer, or begins again. False: it has no place. */
static bool ring_turn(hak_guarded *mine, unsigned cls) {
    hak_ring *ring = &mine->rings[cls];
    bool longer = ring_extend(mine, cls);
    /* also when the ring has no address space for its floor, or for any place */
    if (!longer && is_front(mine, cls))
        return front_turn(mine, cls);
    if (!longer)
        HAK_SHOW(ring->in, ring->slots);
    ring->stop = ring->in;
    go_on(mine, cls);
    return true;
}

/* Under a limit the ring has no place, because a slot that rests would keep much mapped: what came before the limit
 * goes home. */
static void limited(hak_guarded *mine, unsigned cls) {
    if (mine->rings[cls].limit != 0)
        hak_ring_class_empty(mine, cls, hak_ring_home);
}

/* The OS does not take the slot's memory back: its pages are locked, say. It rests for a few frees, in places of the
 * class's swap that no other slot uses, and takes none from the others. */
static void *stay(hak_guarded *mine, void *obj, unsigned cls) {
    void **places = &mine->swaps[cls][HAK_SWAP_PLACES - HAK_RING_STAYING], *out = places[0];
    if (mine->rings[cls].limit == 0 && !ring_turn(mine, cls)) {
        hak_ring_disown(mine, obj);
        return obj;
    }
    for (unsigned i = 0; i + 1 < HAK_RING_STAYING; i++)
        HAK_SHOW(places[i], places[i + 1]);
    HAK_SHOW(places[HAK_RING_STAYING - 1], obj);
    return out;
}

/* In a ring of slots without memory a block is one free, so that each of them comes here. */
void *hak_quarantine_turn_slow(void *obj, unsigned cls) {
    hak_guarded *mine = hak_guarded_mine;
    hak_ring *ring = &mine->rings[cls];
    size_t size = hak_classes[cls].size;
    if (HAK_LIKELY(places_left(ring) != 0 && !hak_ring_is_bare(cls) && !is_front(mine, cls))) {
        go_on(mine, cls);
        return hak_ring_exchange(mine, obj, cls, size);
    }
    hak_quarantine_turned(mine, cls);
    if (!hak_hardening.quarantine || mine->owner == 0)
        return obj; /* of a thread without a state it comes back to hak_quarantine_first */
    if (HAK_UNLIKELY(hak_limit_is_costly(cls))) {
        limited(mine, cls);
        hak_ring_disown(mine, obj);
        return obj;
    }
    if (hak_ring_is_bare(cls) && HAK_UNLIKELY(!hak_ring_lets_go(obj, cls)))
        return stay(mine, obj, cls);
    if (places_left(ring) == 0 && !ring_turn(mine, cls)) {
        hak_ring_disown(mine, obj);
        return hak_ring_common(obj, cls, mine->typed);
    }
    if (ring->in == ring->stop)
        step(mine, cls);
    return hak_ring_exchange(mine, obj, cls, size);
}

void *hak_quarantine_first(void *obj, unsigned cls) {
    hak_guarded *mine = hak_guarded_mine;
    hak_place place;
    if (mine->owner == 0 || !hak_ledger_find(obj, &place))
        return hak_ring_common(obj, cls, false);
    hak_record_store(place.record, hak_record_freed(mine->owner, hak_record_load(place.record)));
    return hak_ring_exchange(mine, obj, cls, place.size);
}

/* Age. --------------------------------------------------------------------------------------------------- */

static bool pins_too_much(const hak_guarded *mine) {
    size_t bare = 0, pinned = 0;
    size_t threads = atomic_load_explicit(&hak_quarantine_states, memory_order_relaxed);
    hak_ring_count(mine, &bare, &pinned);
    return pinned > PINNED_BYTES / hak_max(1, threads) &&
           atomic_load_explicit(&hak_ring_pinned, memory_order_relaxed) > PINNED_BYTES;
}

/* The class that was not used for the most looks; 0: the last one found all of them in use. */
static unsigned unused_longest(const hak_guarded *mine) {
    unsigned found = 0;
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
        if (mine->rings[cls].limit != 0 && mine->used_look[cls] != mine->looks &&
            (found == 0 || mine->used_look[cls] < mine->used_look[found]))
            found = cls;
    return found;
}

static void note(hak_guarded *mine, unsigned cls) {
    mine->seen[cls] = (uint32_t)(mine->rings[cls].in - mine->rings[cls].slots);
    mine->seen_turns[cls] = atomic_load_explicit(&mine->turns[cls], memory_order_relaxed);
}

/* True when the thread has freed a slot of the class since the last look. */
static bool look(hak_guarded *mine, unsigned cls) {
    uint32_t seen = mine->seen[cls];
    uint64_t turns = mine->seen_turns[cls];
    note(mine, cls);
    return seen != mine->seen[cls] || turns != mine->seen_turns[cls];
}

/* Leaves only the floor, and gives the pages around it back. */
static void class_bare(hak_guarded *mine, unsigned cls) {
    uint32_t limit = mine->rings[cls].limit, floor = hak_ring_floor(cls);
    if (limit > floor)
        hak_ring_shorten(mine, cls, limit - floor, hak_ring_home);
    note(mine, cls); /* this is no use of it */
    mine->purge_due[cls] = false;
    hak_depot_purge_class(cls);
}

static void class_purge(hak_guarded *mine, unsigned cls, bool sparse, size_t *around) {
    if (sparse && mine->purge_due[cls])
        class_bare(mine, cls);
    if (!mine->around_due[cls] || *around >= AROUND_BYTES)
        return;
    *around += ring_bytes(mine, cls);
    hak_ring_purge_around(mine, cls);
    mine->around_due[cls] = false;
}

static void class_rest(hak_guarded *mine, unsigned cls) {
    hak_ring_class_empty(mine, cls, hak_ring_rest);
    note(mine, cls);
}

/* A slot that rests keeps its slab, and its page until nothing of the class was freed for a moment (ring_pages.c).
 * While free slots keep many slabs, the class's other free pages go back then, too. The slots stay, unless all of them
 * keep too many pages: then those of the class that was unused for longest go on to the common ring. */
void hak_quarantine_age(bool sparse) {
    hak_guarded *mine = hak_guarded_mine;
    uint64_t now = hak_os_milliseconds();
    if (mine->owner == 0)
        return;
    mine->looks++;
    size_t around = 0;
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++) {
        uint64_t unused = now - mine->used_at[cls];
        if (hak_limit_is_costly(cls))
            limited(mine, cls);
        else if (look(mine, cls)) {
            mine->used_at[cls] = now;
            mine->used_look[cls] = mine->looks;
            mine->purge_due[cls] = mine->around_due[cls] = true;
        } else if (unused >= UNUSED_MS)
            class_rest(mine, cls);
        else if (unused >= SPARSE_MS)
            class_purge(mine, cls, sparse, &around);
    }
    for (unsigned cls; sparse && pins_too_much(mine) && (cls = unused_longest(mine)) != 0;)
        class_rest(mine, cls);
    if (sparse)
        hak_common_age();
}

/* The class whose ring may hold the most bytes. */
static unsigned fullest(const hak_guarded *mine) {
    unsigned most = 1;
    for (unsigned cls = 2; cls <= HAK_CLASSES && !hak_ring_is_bare(cls); cls++)
        if (ring_bytes(mine, cls) > ring_bytes(mine, most))
            most = cls;
    return most;
}

void hak_ring_trim(hak_guarded *mine) {
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
        if (hak_classes[cls].size > TRIMMED_SLOT)
            hak_ring_class_empty(mine, cls, hak_ring_home);
    while (mine->held + mine->swapped > TRIMMED_BYTES) {
        unsigned cls = fullest(mine);
        if (mine->rings[cls].limit == 1)
            hak_ring_class_empty(mine, cls, hak_ring_home);
        else
            hak_ring_shorten(mine, cls, mine->rings[cls].limit / 2, hak_ring_home);
    }
}
