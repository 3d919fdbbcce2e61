/* ring.c: see ring.h. */
#include "hardening/ring.h"

#include "allocator/heap/depot.h"
#include "allocator/os/os.h"
#include "allocator/pages/release.h"
#include "hardening/common.h"
#include "hardening/seal.h"

#include <string.h>

enum {
    RING_MOST = 1 << 17,
    LONG_MOST =
        1040, /* of rings that are not deep: a thread that uses one size gets the rest of small slots */
    RING_FIRST = 64,
    /* What a ring gets at once at most; also the most that a swap holds, but for two places at least. */
    STEP_BYTES = 16 * HAK_KIB,
    /* What other long rings hold counts so many times: a thread that uses all of these classes keeps 2 MiB, not
     * 5.5. */
    OTHERS_WEIGHT = 16,
    /* All threads together, and what of it is for floors only. */
    TOTAL_BYTES = 24 * HAK_MIB,
    FLOORS_BYTES = 8 * HAK_MIB,
    /* What all that rests may pin in pages while memory is sparse; beyond that what was unused longest goes on. */
    PINNED_BYTES = 160 * HAK_MIB,
    PINNED_LEAST = 12 * HAK_MIB,
    /* How much is taken from the class that holds most, when another one wants to grow: an eighth. */
    STEAL_PART = 8,
    /* malloc_trim leaves so much to the calling thread, and no slots above this size. */
    TRIMMED_BYTES = 256 * HAK_KIB,
    TRIMMED_SLOT = 4 * HAK_KIB,
    /* How long what a thread holds of a class that it frees nothing of any more stays its own. */
    UNUSED_MS = 10 * 1000,
    SPARSE_MS =
        10, /* and how long nothing is freed of a class before pages around what rests of it go back */
    /* Places of a class that rests without memory, where memory cannot be given back: it is locked, say. */
    STAYING = 2,
    /* HAKMEM_QUARANTINE_KB from which on floors are whole. */
    WHOLE_KIB = 5504,
};

_Atomic size_t hak_quarantine_held, hak_ring_pinned;
_Atomic bool hak_ring_stays;

/* Sizes. ------------------------------------------------------------------------------------------------- */

/* 1,000 calls for objects of up to 256 bytes, 400 to 1 KiB, 100 to 4 KiB, 32 to 32 KiB, 600 above, and a little for
 * what else is freed meanwhile. How they were chosen: docs/decisions/031. */
static const struct {
    uint32_t size, places;
} floors[] = {{288, 1040}, {HAK_RING_LONG, 416}, {4608, 112}, {HAK_RING_BARE, 40}, {HAK_SLAB_SIZE_MAX, 616}};

uint32_t hak_ring_floor(unsigned cls) {
    uint32_t size = hak_classes[cls].size, i = 0;
    while (size > floors[i].size)
        i++;
    if (!hak_hardening.quarantine)
        return 0;
    return hak_max(2, floors[i].places * hak_min(hak_hardening.quarantine_kib, WHOLE_KIB) / WHOLE_KIB);
}

static bool is_deep(unsigned cls) {
    return hak_classes[cls].size <= HAK_RING_DEEP;
}
static bool is_long(unsigned cls) {
    return hak_classes[cls].size <= HAK_RING_LONG;
}
static bool is_bare(unsigned cls) {
    return hak_classes[cls].size > HAK_RING_BARE;
}

/* What a slot that rests costs at most: one without memory shares the page at its end with the next one. */
static size_t cost(unsigned cls) {
    return is_bare(cls) ? hak_os_page : hak_classes[cls].size;
}

/* And what it keeps resident at most, where all else around it is free. */
size_t hak_ring_pins(unsigned cls) {
    return is_bare(cls) ? hak_os_page : hak_max(hak_classes[cls].size, hak_os_page);
}

/* Most places that the ring may have as things are, and its floor. */
static uint32_t most_now(const hak_guarded *mine, unsigned cls) {
    bool stays = is_bare(cls) && atomic_load_explicit(&hak_ring_stays, memory_order_relaxed);
    return stays ? hak_min(mine->most[cls], STAYING) : mine->most[cls];
}
static uint32_t floor_now(const hak_guarded *mine, unsigned cls) {
    return hak_min(hak_ring_floor(cls), most_now(mine, cls));
}

/* What the long rings of a thread may hold. */
static size_t thread_bytes(void) {
    return (size_t)hak_hardening.quarantine_kib * HAK_KIB;
}

/* And the rings of all threads together: no less than two threads'. */
static size_t total_bytes(void) {
    return hak_max((size_t)TOTAL_BYTES, 2 * thread_bytes());
}

/* Most slots of a class's ring. */
static uint32_t ring_most(unsigned cls) {
    size_t most = is_long(cls) ? thread_bytes() / hak_classes[cls].size : 0;
    return (uint32_t)hak_max(hak_ring_floor(cls), hak_min(most, is_deep(cls) ? RING_MOST : LONG_MOST));
}

/* Places that the class's ring has room for. Of a long ring only what is in use is mapped: its room is some MiB. */
static size_t ring_room(unsigned cls) {
    size_t slots = ring_most(cls) + HAK_RING_AHEAD;
    return is_deep(cls) ? hak_align_up(slots * sizeof(void *), hak_os_page) / sizeof(void *) : slots;
}

size_t hak_ring_rooms(bool deep) {
    size_t slots = 0;
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
        slots += is_deep(cls) == deep ? ring_room(cls) : 0;
    return hak_align_up(slots * sizeof(void *), hak_os_page);
}

void hak_ring_begin(hak_guarded *guarded) {
    void **shallow = (void **)(guarded + 1), **deep = (void **)guarded->deep.start;
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++) {
        void **slots = is_deep(cls) ? deep : shallow;
        guarded->rings[cls] = (hak_ring){.in = slots, .stop = slots, .slots = slots};
        guarded->most[cls] = is_deep(cls) && guarded->deep.start == 0 ? 0 : ring_most(cls);
        if (is_deep(cls))
            deep += ring_room(cls);
        else {
            guarded->mapped[cls] = (uint32_t)ring_room(cls);
            shallow += ring_room(cls);
        }
    }
}

/* Maps the ring's room for so many places, and those ahead; false when the OS refuses. Where somebody else has mapped,
 * the ring stays as long as it is. */
static HAK_UNSEEN bool ring_map(hak_guarded *mine, unsigned cls, uint32_t places) {
    uint32_t need = places + HAK_RING_AHEAD, have = mine->mapped[cls];
    if (need <= have)
        return true;
    uintptr_t start = (uintptr_t)mine->rings[cls].slots;
    size_t from = have * sizeof(void *), to = hak_align_up(need * sizeof(void *), hak_os_page);
    hak_map_result result = hak_extent_fill(&mine->deep, start + from, to - from);
    if (result == HAK_MAP_TAKEN)
        mine->most[cls] = mine->rings[cls].limit;
    if (result != HAK_MAP_DONE)
        return false;
    mine->mapped[cls] = (uint32_t)(to / sizeof(void *));
    hak_seal_metadata(start, to);
    return true;
}

void hak_ring_unmap_deep(hak_guarded *guarded) {
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++) {
        if (!is_deep(cls) || guarded->mapped[cls] == 0)
            continue;
        if (!guarded->deep.reserved)
            hak_os_unmap((uintptr_t)guarded->rings[cls].slots, guarded->mapped[cls] * sizeof(void *));
        guarded->mapped[cls] = 0;
    }
}

void hak_ring_reset(hak_guarded *guarded) {
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++) {
        hak_ring *ring = &guarded->rings[cls];
        memset(ring->slots, 0, ring->limit * sizeof(void *));
        ring->in = ring->stop = ring->slots;
        ring->limit = 0;
    }
    hak_ring_unmap_deep(guarded); /* the next program asks the OS as often as the one before */
    memset(guarded->swaps, 0, sizeof guarded->swaps);
    atomic_store(&hak_ring_stays, false);
    guarded->held = guarded->swapped = 0;
}

/* What is held. ------------------------------------------------------------------------------------------- */

/* The ring gets so many places, or loses them: `more` wraps around. */
static void count_places(hak_guarded *mine, unsigned cls, uint32_t more) {
    size_t bytes = (size_t)(int32_t)more * cost(cls);
    mine->rings[cls].limit += more;
    mine->held += bytes;
    atomic_fetch_add_explicit(&hak_quarantine_held, bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&hak_ring_pinned, (size_t)(int32_t)more * hak_ring_pins(cls),
                              memory_order_relaxed);
    if (is_bare(cls))
        atomic_fetch_add_explicit(&hak_release_slabs_bare, (size_t)(int32_t)more * hak_classes[cls].size,
                                  memory_order_relaxed);
}

void hak_ring_count(const hak_guarded *state, size_t *bare, size_t *pinned) {
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++) {
        *bare += is_bare(cls) ? state->rings[cls].limit * (size_t)hak_classes[cls].size : 0;
        *pinned += state->rings[cls].limit * hak_ring_pins(cls);
    }
}

/* Bytes of the class's swap. */
static size_t swap_bytes(const hak_guarded *mine, unsigned cls) {
    return (mine->rings[cls].swap_mask + 1) * cost(cls);
}

static void count_swap(hak_guarded *mine, size_t more) {
    mine->swapped += more;
    atomic_fetch_add_explicit(&hak_quarantine_held, more, memory_order_relaxed);
}

/* The class's swap gets as many places, if that is more than it has. */
static void swap_open(hak_guarded *mine, unsigned cls, bool is_front) {
    hak_ring *ring = &mine->rings[cls];
    size_t before = ring->limit != 0 ? swap_bytes(mine, cls) : 0;
    size_t places = hak_max(2, hak_min(STEP_BYTES / hak_classes[cls].size, HAK_SWAP_PLACES));
    uint16_t mask = (uint16_t)(hak_hardening.random && !is_front ? (1u << hak_log2(places)) - 1 : 0);
    if (ring->limit != 0 && mask <= ring->swap_mask)
        return;
    ring->swap_mask = mask;
    ring->drawn &= mask;
    count_swap(mine, swap_bytes(mine, cls) - before);
}

void hak_ring_draw(hak_guarded *mine) {
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
        mine->rings[cls].drawn = hak_rng_next(&mine->rng) & mine->rings[cls].swap_mask;
}

/* Ways out. ----------------------------------------------------------------------------------------------- */

/* Its memory goes; it reads as zero, as before, or as nobody minds where freed objects are not zeroed. */
static void purge(void *obj, size_t size) {
    uintptr_t from = hak_align_up((uintptr_t)obj, hak_os_page);
    uintptr_t to = hak_align_down((uintptr_t)obj + size, hak_os_page);
    if (from < to && !hak_os_purge(from, to - from, HAK_PURGE_NOW))
        atomic_store_explicit(&hak_ring_stays, true, memory_order_relaxed);
}
static void purge_wide(void *obj, unsigned cls) {
    if (obj != NULL && hak_classes[cls].size >= HAK_RING_PURGED)
        purge(obj, hak_classes[cls].size);
}

void hak_ring_home(const hak_guarded *from, void *obj, unsigned cls) {
    (void)from;
    hak_quarantine_give_home(obj, cls);
}

/* What is in a common ring is no thread's. Where the record has another owner, two have freed the object at once: that
 * is for the sweep to find. */
static void disown(const hak_guarded *from, void *obj) {
    hak_place place;
    if (!hak_ledger_find(obj, &place))
        return;
    uint32_t word = hak_record_load(place.record);
    if (word == hak_record_freed(from->owner, word))
        hak_record_store(place.record, hak_record_freed(0, word));
}

void hak_ring_rest(const hak_guarded *from, void *obj, unsigned cls) {
    disown(from, obj);
    purge_wide(obj, cls);
    void *out = hak_common_exchange(obj, cls, from->typed);
    if (out != NULL)
        hak_quarantine_give_home(out, cls);
}

void *hak_ring_common(void *obj, unsigned cls, bool typed) {
    purge_wide(obj, cls);
    return hak_common_exchange(obj, cls, typed);
}

/* Takes `count` places from index `at` on away, which is the same as those between it and the end of the ring. */
static void places_take(hak_guarded *mine, unsigned cls, uint32_t at, uint32_t count, hak_ring_way *way) {
    hak_ring *ring = &mine->rings[cls];
    for (uint32_t i = at; i < at + count; i++) {
        void *obj = ring->slots[i];
        HAK_SHOW(ring->slots[i], NULL);
        if (obj != NULL)
            way(mine, obj, cls);
    }
    for (uint32_t i = at + count; i < ring->limit && count != 0; i++) {
        HAK_SHOW(ring->slots[i - count], ring->slots[i]);
        HAK_SHOW(ring->slots[i], NULL);
    }
    count_places(mine, cls, 0 - count);
}

/* Takes `count` places away, empty ones and then those of the oldest slots, and the others close ranks. */
static void ring_shorten(hak_guarded *mine, unsigned cls, uint32_t count, hak_ring_way *way) {
    hak_quarantine_turned(mine, cls);
    hak_ring *ring = &mine->rings[cls];
    uint32_t in = (uint32_t)(ring->in - ring->slots), at = in == ring->limit ? 0 : in;
    uint32_t behind = hak_min(count, ring->limit - at), before = count - behind;
    places_take(mine, cls, at, behind, way);
    places_take(mine, cls, 0, before, way);
    in = in > at ? ring->limit : at - before; /* it had come round */
    HAK_SHOW(ring->in, ring->slots + in);
    ring->stop = is_bare(cls) ? ring->in : ring->slots + ring->limit;
}

/* Nothing of the class is in the state's quarantine. */
static void class_empty(hak_guarded *state, unsigned cls, hak_ring_way *way) {
    hak_ring *ring = &state->rings[cls];
    if (ring->limit == 0)
        return; /* and nothing in its swap: that is filled from a ring, and emptied here */
    for (unsigned i = 0; i < HAK_SWAP_PLACES; i++) {
        void *obj = state->swaps[cls][i];
        HAK_SHOW(state->swaps[cls][i], NULL);
        if (obj != NULL)
            way(state, obj, cls);
    }
    count_swap(state, 0 - swap_bytes(state, cls));
    uint32_t floor = hak_ring_floor(cls); /* no more than that would stay in the common ring */
    if (ring->limit > floor)
        ring_shorten(state, cls, ring->limit - floor, hak_ring_home);
    ring_shorten(state, cls, ring->limit, way);
}

void hak_ring_empty(hak_guarded *state, hak_ring_way *way) {
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
        class_empty(state, cls, way);
}

/* Growth. ------------------------------------------------------------------------------------------------- */

/* The long ring that has most above its floor; 0: none has any. */
static unsigned longest(const hak_guarded *mine) {
    unsigned found = 0;
    size_t most = 0;
    for (unsigned cls = 1; is_long(cls); cls++) {
        uint32_t limit = mine->rings[cls].limit, floor = hak_ring_floor(cls);
        size_t bytes = (limit - hak_min(limit, floor)) * (size_t)hak_classes[cls].size;
        if (bytes > most) {
            most = bytes;
            found = cls;
        }
    }
    return found;
}

/* Makes the longest ring give some of what it has above its floor, if that is another one and has more than twice as
 * much as `cls` and a step: no to and fro. */
static bool steal(hak_guarded *mine, unsigned cls, size_t least) {
    unsigned from = longest(mine);
    if (from == 0 || from == cls || mine->rings[from].limit * (size_t)hak_classes[from].size < least)
        return false;
    uint32_t limit = mine->rings[from].limit, above = limit - hak_ring_floor(from);
    ring_shorten(mine, from, hak_min(above, hak_max(1, limit / STEAL_PART)), hak_ring_home);
    return true;
}

/* Whether the thread may hold `bytes` more in this long ring, which has its floor. What wider classes hold does not
 * count against deep ones: it is little. */
static bool thread_allows(hak_guarded *mine, unsigned cls, size_t bytes) {
    size_t own = mine->rings[cls].limit * (size_t)hak_classes[cls].size, others = 0;
    for (unsigned other = 1; is_deep(cls) ? is_deep(other) : is_long(other); other++)
        others += other != cls ? mine->rings[other].limit * (size_t)hak_classes[other].size : 0;
    return own + bytes + OTHERS_WEIGHT * others <= thread_bytes() || steal(mine, cls, 2 * own + STEP_BYTES);
}

/* Whether all threads together may hold `bytes` more. What ended threads held goes first. */
static bool total_allows(size_t bytes, bool below) {
    size_t most = total_bytes() - (below ? 0 : FLOORS_BYTES);
    if (atomic_load_explicit(&hak_quarantine_held, memory_order_relaxed) + bytes <= most)
        return true;
    hak_quarantine_rest_ended();
    return atomic_load_explicit(&hak_quarantine_held, memory_order_relaxed) + bytes <= most;
}

/* How many places more the ring may have; 0: none. */
static uint32_t places_more(hak_guarded *mine, unsigned cls) {
    uint32_t limit = mine->rings[cls].limit, floor = floor_now(mine, cls), most = most_now(mine, cls);
    bool below = limit < floor;
    size_t size = cost(cls);
    uint32_t more =
        (uint32_t)hak_min(hak_max(RING_FIRST, limit), (below ? floor : hak_max(limit, most)) - limit);
    if (more * size > STEP_BYTES)
        more = (uint32_t)hak_max(1, STEP_BYTES / size);
    if (more == 0 || (!below && !thread_allows(mine, cls, more * size)))
        return 0;
    while (!total_allows(more * size, below)) /* floors come first */
        if (!below || !steal(mine, cls, 0))
            return 0;
    return more;
}

/* More places for the ring, if the class, the thread and all threads together may have them. */
static bool ring_extend(hak_guarded *mine, unsigned cls) {
    hak_ring *ring = &mine->rings[cls];
    uint32_t more = places_more(mine, cls);
    if (more == 0 || !ring_map(mine, cls, ring->limit + more))
        return false;
    swap_open(mine, cls, false);
    count_places(mine, cls, more);
    return true;
}

/* Places of a ring that is a front. */
static uint32_t front_places(unsigned cls) {
    size_t size = hak_classes[cls].size;
    return size <= 256 ? 4 : size <= 1024 ? 2 : 1;
}

/* The ring has come round and may not grow to its floor: it becomes a front, and what is in it goes on to the common
 * ring, from which it gets as many others back. False: it has no room for a place. */
static bool front_turn(hak_guarded *mine, unsigned cls) {
    hak_ring *ring = &mine->rings[cls];
    uint32_t places = front_places(cls);
    if (ring->limit == 0) {
        if (mine->most[cls] < places || !ring_map(mine, cls, places))
            return false;
        swap_open(mine, cls, true);
        count_places(mine, cls, places);
        HAK_SHOW(ring->in, ring->slots);
        return true;
    }
    if (ring->limit > places)
        ring_shorten(mine, cls, ring->limit - places, hak_ring_rest);
    for (uint32_t i = 0; i < ring->limit; i++) {
        disown(mine, ring->slots[i]);
        purge_wide(ring->slots[i], cls);
    }
    hak_common_exchange_batch(ring->slots, ring->limit, cls, mine->typed);
    HAK_SHOW(ring->in, ring->slots);
    return true;
}

/* The ring has come to its end: it gets longer, or begins again. False: it has no place. */
static bool ring_turn(hak_guarded *mine, unsigned cls) {
    hak_ring *ring = &mine->rings[cls];
    if (ring_extend(mine, cls))
        return true;
    if (ring->limit < floor_now(mine, cls))
        return front_turn(mine, cls);
    HAK_SHOW(ring->in, ring->slots);
    return true;
}

/* A ring of slots without memory comes here each time: it always looks as if it had come round. */
void *hak_quarantine_turn_slow(void *obj, unsigned cls) {
    hak_guarded *mine = hak_guarded_mine;
    hak_ring *ring = &mine->rings[cls];
    size_t size = hak_classes[cls].size;
    hak_quarantine_turned(mine, cls);
    if (!hak_hardening.quarantine)
        return obj;
    if (mine->owner == 0)
        return hak_ring_common(obj, cls, false);
    if (is_bare(cls))
        purge(obj, size);
    if (ring->in == ring->slots + ring->limit && !ring_turn(mine, cls)) {
        disown(mine, obj);
        return hak_ring_common(obj, cls, mine->typed);
    }
    ring->stop = ring->slots + ring->limit;
    void *out = hak_ring_exchange(mine, obj, cls, size);
    if (is_bare(cls))
        ring->stop = ring->in;
    return out;
}

/* Age. ---------------------------------------------------------------------------------------------------- */

/* What each thread's rings may pin, and the common ones if all do more. */
static size_t pinned_most(void) {
    size_t states = atomic_load_explicit(&hak_quarantine_states, memory_order_relaxed);
    return hak_max(PINNED_BYTES / hak_max(1, states), PINNED_LEAST);
}

bool hak_ring_pins_too_much(void) {
    return atomic_load_explicit(&hak_ring_pinned, memory_order_relaxed) > pinned_most();
}

static bool pins_too_much(const hak_guarded *mine) {
    size_t bare = 0, pinned = 0;
    hak_ring_count(mine, &bare, &pinned);
    return pinned > PINNED_BYTES /
                        hak_max(1, atomic_load_explicit(&hak_quarantine_states, memory_order_relaxed)) &&
           hak_ring_pins_too_much();
}

/* The class of which the thread has freed nothing for longest, if for a moment; 0: there is none. */
static unsigned unused_longest(const hak_guarded *mine, uint64_t now) {
    unsigned found = 0;
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
        if (mine->rings[cls].limit != 0 && now - mine->used_at[cls] >= SPARSE_MS &&
            (found == 0 || mine->used_at[cls] < mine->used_at[found]))
            found = cls;
    return found;
}

/* Only the floor stays, and the pages around it go back. */
static void class_bare(hak_guarded *mine, unsigned cls) {
    uint32_t limit = mine->rings[cls].limit, floor = hak_ring_floor(cls);
    if (limit > floor)
        ring_shorten(mine, cls, limit - floor, hak_ring_home);
    mine->bared[cls] = true;
    hak_depot_purge_class(cls);
}

/* A slot that rests pins its slab, and its page. While free slots pin many slabs, the pages around those that rest go
 * back once nothing of the class was freed for a moment. What rests stays, unless all of it pins more pages than it
 * may: then what was unused longest goes on to the common rings, and from there home. */
void hak_quarantine_age(bool sparse) {
    hak_guarded *mine = hak_guarded_mine;
    uint64_t now = hak_os_milliseconds();
    for (unsigned cls = 1; mine->owner != 0 && cls <= HAK_CLASSES; cls++) {
        uint64_t turns = atomic_load_explicit(&mine->turns[cls], memory_order_relaxed);
        uint64_t unused = now - mine->used_at[cls];
        if (mine->rings[cls].in != mine->seen[cls] || turns != mine->seen_turns[cls]) {
            mine->used_at[cls] = now;
            mine->bared[cls] = false;
        } else if (unused >= UNUSED_MS)
            class_empty(mine, cls, hak_ring_rest);
        else if (sparse && unused >= SPARSE_MS && mine->rings[cls].limit != 0 && !mine->bared[cls])
            class_bare(mine, cls);
        mine->seen[cls] = mine->rings[cls].in;
        mine->seen_turns[cls] = turns;
    }
    for (unsigned cls;
         sparse && mine->owner != 0 && pins_too_much(mine) && (cls = unused_longest(mine, now)) != 0;)
        class_empty(mine, cls, hak_ring_rest);
    if (sparse)
        hak_common_age(now);
}

/* The class whose ring holds most. */
static unsigned fullest(const hak_guarded *mine) {
    unsigned most = 1;
    for (unsigned cls = 2; cls <= HAK_CLASSES && !is_bare(cls); cls++)
        if ((size_t)mine->rings[cls].limit * hak_classes[cls].size >
            (size_t)mine->rings[most].limit * hak_classes[most].size)
            most = cls;
    return most;
}

void hak_ring_trim(hak_guarded *mine) {
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
        if (hak_classes[cls].size > TRIMMED_SLOT)
            class_empty(mine, cls, hak_ring_home);
    while (mine->held > TRIMMED_BYTES) {
        unsigned cls = fullest(mine);
        if (mine->rings[cls].limit == 1)
            class_empty(mine, cls, hak_ring_home);
        else
            ring_shorten(mine, cls, mine->rings[cls].limit / 2, hak_ring_home);
    }
}
