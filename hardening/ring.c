/* ring.c: the places of a thread's rings, and the ways that slots take out of them; see ring.h. */
#include "hardening/ring_own.h"

#include "allocator/os/os.h"
#include "allocator/pages/mapped_limit.h"
#include "allocator/pages/release.h"
#include "hardening/common.h"
#include "hardening/seal.h"
#include "hardening/tally.h"

#include <string.h>

enum {
    RING_MOST = 1 << 17,
    /* Of a ring that is long, but not deep: a thread that uses one size gets the rest that small slots have. */
    LONG_MOST = 1040,
    /* HAKMEM_QUARANTINE_KB from which on floors are whole. */
    WHOLE_KIB = 5504,
};

_Atomic size_t hak_quarantine_held, hak_ring_pinned;
HAK_HIDDEN _Thread_local const void *hak_ring_stayed;

/* 1,000 calls for objects of up to 256 bytes, 400 to 1 KiB, 100 to 4 KiB, 32 to 32 KiB, 600 above, and a margin for
 * other frees of the class meanwhile. How they were chosen: docs/decisions/031. */
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

size_t hak_ring_pins(unsigned cls, bool bare) {
    enum { RECORDS_PART = 128 }; /* of a slot's bytes: the records of its slab */
    size_t size = hak_classes[cls].size;
    if (!bare)
        return hak_max(size, hak_os_page);
    /* whole pages are purged whole; others share the pages at their ends with their neighbours */
    return size / RECORDS_PART + (size % hak_os_page != 0 ? hak_os_page : 0);
}

/* Room. -------------------------------------------------------------------------------------------------- */

/* The most places of a class's ring. */
static uint32_t ring_most(unsigned cls) {
    size_t most = hak_ring_is_long(cls) ? hak_ring_thread_bytes() / hak_classes[cls].size : 0;
    return (uint32_t)hak_max(hak_ring_floor(cls),
                             hak_min(most, hak_ring_is_deep(cls) ? RING_MOST : LONG_MOST));
}

/* Places for which the class's ring has address space. */
static size_t ring_room(unsigned cls) {
    size_t slots = ring_most(cls) + HAK_RING_AHEAD;
    return hak_ring_is_deep(cls) ? hak_align_up(slots * sizeof(void *), hak_os_page) / sizeof(void *) : slots;
}

/* Where a ring's places lie: behind the state, mapped with it; apart, each mapped as it grows; or apart, all mapped
 * when the first one gets a place. A state without room apart has a few places for each of these, behind its others:
 * its rings are fronts. */
typedef enum part { PART_STATE, PART_DEEP, PART_BARE, PARTS } part;
static part part_of(unsigned cls) {
    return hak_ring_is_deep(cls) ? PART_DEEP : hak_ring_is_bare(cls) ? PART_BARE : PART_STATE;
}

static size_t part_bytes(part of) {
    size_t slots = 0;
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
        slots += part_of(cls) == of ? ring_room(cls) : 0;
    return hak_align_up(slots * sizeof(void *), hak_os_page);
}

static size_t stamp_bytes(void) {
    size_t stamps = 0;
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
        stamps += hak_ring_lines(cls);
    return hak_align_up(stamps * sizeof(uint32_t), hak_os_page);
}

enum { FEW = HAK_COMMON_BATCH }; /* places: the longest front */

static size_t few_bytes(void) {
    size_t classes = 0;
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
        classes += part_of(cls) != PART_STATE;
    return hak_align_up(classes * (FEW + HAK_RING_AHEAD) * sizeof(void *), hak_os_page);
}

size_t hak_ring_rooms(bool apart) {
    return apart ? part_bytes(PART_DEEP) + part_bytes(PART_BARE)
                 : part_bytes(PART_STATE) + stamp_bytes() + few_bytes();
}

void hak_ring_begin_lines(hak_guarded *guarded) {
    uint32_t *next = (uint32_t *)((uintptr_t)(guarded + 1) + part_bytes(PART_STATE));
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++) {
        guarded->floors[cls] = (uint16_t)hak_ring_floor(cls);
        guarded->line[cls] = (uint8_t)hak_ring_line(cls);
        guarded->line_count[cls] = (uint16_t)hak_ring_lines(cls);
        guarded->stamps[cls] = next;
        next += guarded->line_count[cls];
    }
}

/* Without a place. */
static hak_ring ring_at(void **slots) {
    return (hak_ring){.in = slots, .stop = slots, .slots = slots};
}

static void begin_few(hak_guarded *guarded) {
    void **next = (void **)((uintptr_t)(guarded + 1) + part_bytes(PART_STATE) + stamp_bytes());
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++) {
        if (part_of(cls) == PART_STATE)
            continue;
        guarded->rings[cls] = ring_at(next);
        guarded->most[cls] = (uint32_t)hak_min(ring_most(cls), FEW);
        guarded->mapped[cls] = FEW + HAK_RING_AHEAD;
        next += FEW + HAK_RING_AHEAD;
    }
}

void hak_ring_begin(hak_guarded *guarded) {
    void **next[PARTS] = {(void **)(guarded + 1), (void **)guarded->apart.start,
                          (void **)(guarded->apart.start + part_bytes(PART_DEEP))};
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++) {
        part of = part_of(cls);
        void **slots = next[of];
        if (of != PART_STATE && guarded->apart.start == 0)
            continue; /* begin_few */
        next[of] += ring_room(cls);
        guarded->rings[cls] = ring_at(slots);
        guarded->most[cls] = ring_most(cls);
        guarded->mapped[cls] = of == PART_STATE ? (uint32_t)ring_room(cls) : 0;
    }
    if (guarded->apart.start == 0)
        begin_few(guarded);
}

/* False: the OS refuses. When another mapping is in the way, `taken` says so. */
static bool map_apart(hak_guarded *mine, uintptr_t start, size_t size, bool *taken) {
    hak_map_result result = hak_extent_fill(&mine->apart, start, size);
    *taken = result == HAK_MAP_TAKEN;
    if (result == HAK_MAP_DONE)
        hak_seal_metadata(start, size);
    return result == HAK_MAP_DONE;
}

static bool map_bare(hak_guarded *mine) {
    bool taken,
        done = map_apart(mine, mine->apart.start + part_bytes(PART_DEEP), part_bytes(PART_BARE), &taken);
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++) {
        if (part_of(cls) != PART_BARE)
            continue;
        mine->mapped[cls] = done ? (uint32_t)ring_room(cls) : 0;
        mine->most[cls] = taken ? 0 : mine->most[cls];
    }
    return done;
}

HAK_UNSEEN bool hak_ring_map(hak_guarded *mine, unsigned cls, uint32_t places) {
    uint32_t need = places + HAK_RING_AHEAD, have = mine->mapped[cls];
    bool taken;
    if (need <= have)
        return true;
    if (part_of(cls) == PART_BARE)
        return map_bare(mine);
    uintptr_t start = (uintptr_t)mine->rings[cls].slots;
    size_t from = have * sizeof(void *), to = hak_align_up(need * sizeof(void *), hak_os_page);
    bool done = map_apart(mine, start + from, to - from, &taken);
    if (taken)
        mine->most[cls] = mine->rings[cls].limit;
    if (done)
        mine->mapped[cls] = (uint32_t)(to / sizeof(void *));
    return done;
}

/* Calls `each` for every mapping apart from the state. */
HAK_UNSEEN void hak_ring_each_apart(const hak_guarded *guarded, void (*each)(uintptr_t start, size_t size)) {
    bool bare = false;
    for (unsigned cls = 1; guarded->apart.start != 0 && cls <= HAK_CLASSES; cls++) {
        bare |= part_of(cls) == PART_BARE && guarded->mapped[cls] != 0;
        if (part_of(cls) == PART_DEEP && guarded->mapped[cls] != 0)
            each((uintptr_t)guarded->rings[cls].slots, guarded->mapped[cls] * sizeof(void *));
    }
    if (bare)
        each(guarded->apart.start + part_bytes(PART_DEEP), part_bytes(PART_BARE));
}

static void unmap(uintptr_t start, size_t size) {
    hak_os_unmap(start, size);
}
void hak_ring_unmap_apart(hak_guarded *guarded) {
    if (!guarded->apart.reserved)
        hak_ring_each_apart(guarded, unmap);
    for (unsigned cls = 1; guarded->apart.start != 0 && cls <= HAK_CLASSES; cls++)
        if (part_of(cls) != PART_STATE)
            guarded->mapped[cls] = 0;
}

void hak_ring_reset(hak_guarded *guarded) {
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++) {
        hak_ring *ring = &guarded->rings[cls];
        memset(ring->slots, 0, ring->limit * sizeof(void *));
        *ring = ring_at(ring->slots);
        guarded->lines[cls] = guarded->last[cls] = guarded->opened[cls] = 0;
        guarded->made[cls] = 0;
        guarded->block[cls] = guarded->in_line[cls] = 0;
    }
    hak_ring_unmap_apart(guarded); /* so that the next test asks the OS as often as this one */
    memset(guarded->swaps, 0, sizeof guarded->swaps);
    guarded->held = guarded->swapped = 0;
}

/* What is held. ------------------------------------------------------------------------------------------ */

/* `more` may be a negative number: all sums wrap around. */
void hak_ring_more(hak_guarded *mine, unsigned cls, uint32_t more) {
    size_t count = (size_t)(int32_t)more, bytes = count * hak_ring_cost(cls);
    HAK_SHOW(mine->rings[cls].limit, mine->rings[cls].limit + more);
    mine->held += bytes;
    atomic_fetch_add_explicit(&hak_quarantine_held, bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&hak_ring_pinned, count * hak_ring_pins(cls, hak_ring_is_bare(cls)),
                              memory_order_relaxed);
    if (hak_ring_is_bare(cls))
        atomic_fetch_add_explicit(&hak_release_slabs_bare, count * hak_classes[cls].size,
                                  memory_order_relaxed);
}

void hak_ring_count(const hak_guarded *state, size_t *bare, size_t *pinned) {
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++) {
        bool is_bare = hak_ring_is_bare(cls);
        *bare += is_bare ? state->rings[cls].limit * (size_t)hak_classes[cls].size : 0;
        *pinned += state->rings[cls].limit * hak_ring_pins(cls, is_bare);
    }
}

/* The size of the class's swap. Bytes. */
static size_t swap_bytes(const hak_guarded *mine, unsigned cls) {
    return (size_t)(mine->rings[cls].swap_mask + 1) * hak_ring_cost(cls);
}

static void count_swap(hak_guarded *mine, size_t more) {
    mine->swapped += more;
    atomic_fetch_add_explicit(&hak_quarantine_held, more, memory_order_relaxed);
}

void hak_ring_swap_open(hak_guarded *mine, unsigned cls, bool front) {
    hak_ring *ring = &mine->rings[cls];
    size_t before = ring->limit != 0 ? swap_bytes(mine, cls) : 0;
    size_t places = hak_max(2, hak_min(HAK_RING_STEP / hak_classes[cls].size, HAK_SWAP_PLACES));
    uint16_t mask = (uint16_t)(hak_hardening.random && !front ? (1u << hak_log2(places)) - 1 : 0);
    if (ring->limit != 0 && mask <= ring->swap_mask)
        return;
    ring->swap_mask = mask;
    ring->drawn &= mask;
    count_swap(mine, swap_bytes(mine, cls) - before);
}

void hak_ring_draw(hak_guarded *mine) {
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
        mine->rings[cls].drawn = (uint16_t)(hak_rng_next(&mine->rng) & mine->rings[cls].swap_mask);
}

/* Ways out. ---------------------------------------------------------------------------------------------- */

bool hak_ring_purge_pages(uintptr_t start, size_t size) {
    uintptr_t from = hak_align_up(start, hak_os_page), to = hak_align_down(start + size, hak_os_page);
    return from >= to || hak_os_purge(from, to - from, HAK_PURGE_NOW);
}

/* The slot reads as zero afterwards, as before; or nothing asks for that. Slots of a test with a home of its own have
 * no memory. */
bool hak_ring_purge(void *obj, size_t size) {
    return (HAK_DEBUG_BUILD && hak_quarantine_home != NULL) || hak_ring_purge_pages((uintptr_t)obj, size);
}

bool hak_ring_lets_go(void *obj, unsigned cls) {
    if (!hak_ring_comes_bare(cls))
        return hak_ring_purge(obj, hak_classes[cls].size);
    bool stays = hak_ring_stayed == obj;
    if (HAK_UNLIKELY(stays))
        hak_ring_stayed = NULL;
    return !stays;
}

/* Where slots have lost their memory before, another call would hide what was written to them since. */
bool hak_ring_purge_wide(void *obj, unsigned cls) {
    size_t size = hak_classes[cls].size;
    if (size < HAK_RING_PURGED)
        return true;
    if (hak_ring_is_bare(cls))
        return hak_ring_lets_go(obj, cls);
    (void)hak_ring_purge(obj, size);
    return true;
}

void hak_ring_home(hak_guarded *from, void *obj, unsigned cls) {
    (void)from;
    hak_quarantine_give_home(obj, cls);
}

void hak_ring_disown(const hak_guarded *from, void *obj) {
    hak_place place;
    if (!hak_ledger_find(obj, &place))
        return;
    uint32_t word = hak_record_load(place.record);
    if (word == hak_record_freed(from->owner, word))
        hak_record_store(place.record, hak_record_freed(0, word));
}

void hak_ring_rest(hak_guarded *from, void *obj, unsigned cls) {
    uint32_t stamp = hak_ring_stamp(from, cls, --from->leaving);
    hak_ring_disown(from, obj);
    if (HAK_LIKELY(!hak_limit_is_costly(cls)) && hak_ring_purge_wide(obj, cls))
        obj = hak_common_rest(obj, cls, from->typed, stamp);
    if (obj != NULL)
        hak_quarantine_give_home(obj, cls);
}

void *hak_ring_common(void *obj, unsigned cls, bool typed) {
    (void)hak_tally_add(typed, cls, 1, 1);
    if (HAK_LIKELY(!hak_limit_is_costly(cls)) && hak_ring_purge_wide(obj, cls))
        (void)hak_common_exchange(&obj, 1, cls, typed);
    return obj;
}

/* Removes `count` places of the ring, beginning with place `from`. Their slots take the way, and the places behind them
 * move forward. */
static void places_take(hak_guarded *mine, unsigned cls, uint32_t from, uint32_t count, hak_ring_way *way) {
    hak_ring *ring = &mine->rings[cls];
    for (uint32_t i = from; i < from + count; i++) {
        void *obj = ring->slots[i];
        HAK_SHOW(ring->slots[i], NULL);
        if (obj != NULL)
            way(mine, obj, cls);
    }
    for (uint32_t i = from + count; i < ring->limit && count != 0; i++) {
        HAK_SHOW(ring->slots[i - count], ring->slots[i]);
        HAK_SHOW(ring->slots[i], NULL);
    }
    hak_ring_more(mine, cls, 0 - count);
}

/* The oldest slots begin at `in`, or at the start of the ring when it is not full or `in` is at its end. */
void hak_ring_shorten(hak_guarded *mine, unsigned cls, uint32_t count, hak_ring_way *way) {
    hak_quarantine_turned(mine, cls);
    hak_ring_close(mine, cls);
    hak_ring *ring = &mine->rings[cls];
    uint32_t in = (uint32_t)(ring->in - ring->slots), at = in == ring->limit ? 0 : in;
    uint32_t behind = hak_min(count, ring->limit - at), before = count - behind;
    places_take(mine, cls, at, behind, way);
    places_take(mine, cls, 0, before, way);
    in = in > at ? ring->limit : at - before;
    HAK_SHOW(ring->in, ring->slots + in);
    ring->stop = ring->in;
}

static uint32_t slots_in(const hak_ring *ring) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < ring->limit; i++)
        count += ring->slots[i] != NULL;
    return count;
}

void hak_ring_class_empty(hak_guarded *state, unsigned cls, hak_ring_way *way) {
    hak_ring *ring = &state->rings[cls];
    if (ring->limit == 0)
        return; /* the swap is empty, too: only a ring fills it, and only this function empties it */
    hak_ring_close(state, cls);
    uint32_t floor = state->floors[cls]; /* older slots need no more rest */
    for (unsigned i = 0; i < HAK_SWAP_PLACES; i++) {
        void *obj = state->swaps[cls][i];
        HAK_SHOW(state->swaps[cls][i], NULL);
        state->leaving = ring->limit + 1; /* the whole ring is younger */
        if (obj != NULL)                  /* what stayed has memory */
            (hak_ring_is_bare(cls) && i >= HAK_SWAP_PLACES - HAK_RING_STAYING ? hak_ring_home
                                                                              : way)(state, obj, cls);
    }
    count_swap(state, 0 - swap_bytes(state, cls));
    if (ring->limit > floor)
        hak_ring_shorten(state, cls, ring->limit - floor, hak_ring_home);
    state->leaving = slots_in(ring);
    hak_ring_shorten(state, cls, ring->limit, way);
    state->lines[cls] = state->in_line[cls] = state->made[cls] = 0;
}

void hak_ring_empty(hak_guarded *state, hak_ring_way *way) {
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
        hak_ring_class_empty(state, cls, way);
}
