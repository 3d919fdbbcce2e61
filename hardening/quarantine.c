/* quarantine.c: makes rings longer and shorter, within the budgets of a class, a thread and the process; see
 * quarantine.h. */
#include "hardening/quarantine_own.h"

#include "allocator/os/os.h"

enum {
    RING_FIRST = 64, /* places of a new ring */
    /* Weight of the bytes that other classes hold: a thread that uses many classes keeps 2 MiB instead of 5.5. */
    OTHERS_WEIGHT = 4,
    /* The most that all threads together may hold. */
    TOTAL_BYTES = 24 * HAK_MIB,
    /* The most bytes of a swap; it has two places at least. */
    SWAP_BYTES = 16 * HAK_KIB,
    /* When a class wants to grow, the class that holds most gives up this part of its ring. */
    STEAL_PART = 8,
    /* When the total is used up, slots of up to ALWAYS_KEPT bytes have HAK_RING_MIN places nevertheless: some 300 KiB
     * a thread, their swaps included. Larger slots have one place, and one in the swap. */
    ALWAYS_KEPT = HAK_KIB,
    /* From this size on the pages of a slot in that one place are purged. */
    ALWAYS_PURGED = 8 * HAK_KIB,
    /* malloc_trim leaves TRIMMED_BYTES to the calling thread, and no slots above TRIMMED_SLOT. */
    TRIMMED_BYTES = 256 * HAK_KIB,
    TRIMMED_SLOT = 4 * HAK_KIB,
    /* After ENDED_MS the slots that an ended thread held go home; after UNUSED_MS those of a class of which the thread
     * has freed nothing since. */
    ENDED_MS = 1000,
    UNUSED_MS = 10 * 1000,
};

_Atomic size_t hak_quarantine_held;

void (*hak_quarantine_home)(void *obj, unsigned cls);

static void give_home(void *obj, unsigned cls) {
    (HAK_DEBUG_BUILD && hak_quarantine_home != NULL ? hak_quarantine_home : hak_hardening.give)(obj, cls);
}

static void hold(size_t bytes) {
    atomic_fetch_add_explicit(&hak_quarantine_held, bytes, memory_order_relaxed);
}
static void hold_no_more(size_t bytes) {
    atomic_fetch_sub_explicit(&hak_quarantine_held, bytes, memory_order_relaxed);
}

/* The most that all threads together may hold: at least twice what one may. Bytes. */
static size_t total_bytes(void) {
    return hak_max((size_t)TOTAL_BYTES, 2 * hak_quarantine_thread_bytes());
}

/* Removes `count` places of the ring, beginning with place `from`. Their objects go home, and the places behind them
 * move forward. */
static void places_take(hak_ring *ring, unsigned cls, uint32_t from, uint32_t count) {
    void **slots = ring->slots;
    for (uint32_t i = from; i < from + count; i++) {
        void *obj = slots[i];
        HAK_SHOW(slots[i], NULL);
        if (obj != NULL)
            give_home(obj, cls);
    }
    uint32_t limit = ring->limit - count;
    for (uint32_t i = from; i < limit; i++)
        HAK_SHOW(slots[i], slots[i + count]);
    for (uint32_t i = hak_max(from, limit); i < ring->limit; i++)
        HAK_SHOW(slots[i], NULL);
    HAK_SHOW(ring->limit, limit);
}

/* Removes `count` places of a ring: first empty ones, then those with the oldest slots. These begin at `in`, or at the
 * start of the ring when it is not full or `in` is at its end. */
static void ring_shorten(hak_guarded *mine, unsigned cls, uint32_t count) {
    hak_quarantine_turned(mine, cls);
    hak_ring *ring = &mine->rings[cls];
    uint32_t in = (uint32_t)(ring->in - ring->slots), behind = hak_min(count, ring->limit - in);
    places_take(ring, cls, in, behind);
    places_take(ring, cls, 0, count - behind);
    HAK_SHOW(ring->in, ring->in - (count - behind));
    ring->stop = ring->slots + ring->limit;
    size_t bytes = (size_t)count * hak_classes[cls].size;
    mine->held -= bytes;
    hold_no_more(bytes);
}

static uint32_t swap_mask(unsigned cls, bool scarce) {
    size_t places = hak_max(2, hak_min(SWAP_BYTES / hak_classes[cls].size, HAK_SWAP_PLACES));
    return hak_hardening.random && !scarce ? (1u << hak_log2(places)) - 1 : 0;
}

/* The size of the class's swap. Bytes. */
static size_t swap_bytes(const hak_guarded *mine, unsigned cls) {
    return (size_t)(mine->rings[cls].swap_mask + 1) * hak_classes[cls].size;
}

/* Empties the ring and the swap of the class. */
static void class_flush(hak_guarded *state, unsigned cls) {
    if (state->rings[cls].limit == 0)
        return; /* the swap is empty, too: only a ring fills it, and only this function empties it */
    ring_shorten(state, cls, state->rings[cls].limit);
    for (unsigned i = 0; i < HAK_SWAP_PLACES; i++) {
        void *obj = state->swaps[cls][i];
        HAK_SHOW(state->swaps[cls][i], NULL);
        if (obj != NULL)
            give_home(obj, cls);
    }
    state->swapped -= swap_bytes(state, cls);
    hold_no_more(swap_bytes(state, cls));
}

static void flush_state(hak_guarded *state) {
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
        class_flush(state, cls);
}

/* Purges the pages of an empty state's rings and swaps: every place there is NULL, and a purged page reads as zero. */
static HAK_UNSEEN void purge_empty(hak_guarded *state) {
    uintptr_t from = hak_align_up((uintptr_t)state->swaps, hak_os_page);
    uintptr_t to = hak_align_down((uintptr_t)(state->swaps + HAK_TAGS), hak_os_page);
    if (from < to)
        (void)hak_os_purge(from, to - from, HAK_PURGE_NOW);
    from = hak_align_up((uintptr_t)(state + 1), hak_os_page);
    to = (uintptr_t)state + hak_guarded_bytes();
    (void)hak_os_purge(from, to - from, HAK_PURGE_NOW);
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
        if (hak_ring_is_deep(cls) && state->mapped[cls] != 0)
            (void)hak_os_purge((uintptr_t)state->rings[cls].slots, state->mapped[cls] * sizeof(void *),
                               HAK_PURGE_NOW);
}

/* Empties the waiting states whose threads had ended by `before`. Each state is off the list meanwhile, so that
 * no thread can take it. */
static void flush_waiting(uint64_t before) {
    hak_guarded *emptied = NULL;
    for (;;) {
        hak_lock_take(&hak_hardening_lock);
        hak_guarded *state = hak_guarded_waiting;
        if (state != NULL)
            hak_guarded_waiting = state->next_waiting;
        hak_lock_give(&hak_hardening_lock);
        if (state == NULL)
            break;
        if (state->ended_at <= before && state->held != 0) {
            /* `uses` is odd while the state changes: see sweep_ring. */
            atomic_fetch_add_explicit(&state->uses, 1, memory_order_relaxed);
            atomic_thread_fence(memory_order_release);
            flush_state(state);
            purge_empty(state);
            atomic_fetch_add_explicit(&state->uses, 1, memory_order_release);
        }
        state->next_waiting = emptied;
        emptied = state;
    }
    hak_lock_take(&hak_hardening_lock);
    while (emptied != NULL) {
        hak_guarded *next = emptied->next_waiting;
        emptied->next_waiting = hak_guarded_waiting;
        hak_guarded_waiting = emptied;
        emptied = next;
    }
    hak_lock_give(&hak_hardening_lock);
}

void hak_quarantine_flush(void) {
    if (hak_guarded_mine != &hak_guarded_nobody)
        flush_state(hak_guarded_mine);
    flush_waiting(UINT64_MAX);
}

void hak_quarantine_idle(uint64_t now) {
    if (atomic_load_explicit(&hak_quarantine_held, memory_order_relaxed) !=
        hak_guarded_mine->held + hak_guarded_mine->swapped)
        flush_waiting(now - ENDED_MS);
}

/* The class whose ring may hold the most bytes. */
static unsigned fullest(const hak_guarded *mine) {
    unsigned most = 1;
    for (unsigned cls = 2; cls <= HAK_CLASSES; cls++)
        if ((size_t)mine->rings[cls].limit * hak_classes[cls].size >
            (size_t)mine->rings[most].limit * hak_classes[most].size)
            most = cls;
    return most;
}

void hak_quarantine_age(bool sparse) {
    hak_guarded *mine = hak_guarded_mine;
    uint64_t now = hak_os_milliseconds();
    for (unsigned cls = 1; mine != &hak_guarded_nobody && cls <= HAK_CLASSES; cls++) {
        if (mine->rings[cls].in != mine->seen[cls])
            mine->used_at[cls] = now;
        else if (sparse || now - mine->used_at[cls] >= UNUSED_MS)
            class_flush(mine, cls);
        mine->seen[cls] = mine->rings[cls].in;
    }
}

void hak_quarantine_trim(void) {
    hak_guarded *mine = hak_guarded_mine;
    flush_waiting(UINT64_MAX);
    for (unsigned cls = 1; mine != &hak_guarded_nobody && cls <= HAK_CLASSES; cls++)
        if (hak_classes[cls].size > TRIMMED_SLOT)
            class_flush(mine, cls);
    while (mine->held > TRIMMED_BYTES) {
        unsigned cls = fullest(mine);
        if (mine->rings[cls].limit == 1)
            class_flush(mine, cls);
        else
            ring_shorten(mine, cls, mine->rings[cls].limit / 2);
    }
}

/* Shortens the ring of the class that holds most. False when that class holds hardly more than `cls`. */
static bool steal(hak_guarded *mine, unsigned cls) {
    unsigned most = fullest(mine);
    hak_ring *ring = &mine->rings[most];
    size_t held = (size_t)ring->limit * hak_classes[most].size;
    if (held < 2 * (size_t)mine->rings[cls].limit * hak_classes[cls].size +
                   SWAP_BYTES) /* else the two classes would take from each other in turn */
        return false;
    if (ring->limit == 1)
        return false;
    ring_shorten(mine, most, (uint32_t)hak_max(1, ring->limit / STEAL_PART));
    return true;
}

/* True when the process may hold `bytes` more, for this ring. When it may not, slots of ended threads go home first. */
static bool total_allows(const hak_ring *ring, size_t size, size_t bytes) {
    if (atomic_load_explicit(&hak_quarantine_held, memory_order_relaxed) + bytes <= total_bytes())
        return true;
    if (hak_guarded_waiting != NULL) /* a glance */
        flush_waiting(UINT64_MAX);
    return atomic_load_explicit(&hak_quarantine_held, memory_order_relaxed) + bytes <= total_bytes() ||
           (size <= ALWAYS_KEPT && ring->limit < HAK_RING_MIN);
}

/* How many more places the ring may have; 0 when none. *scarce: the total is used up. */
static uint32_t places_more(hak_guarded *mine, unsigned cls, bool *scarce) {
    const hak_ring *ring = &mine->rings[cls];
    size_t size = hak_classes[cls].size, own = ring->limit * size;
    uint32_t more = (uint32_t)hak_min(hak_max(RING_FIRST, ring->limit), mine->most[cls] - ring->limit);
    if (more * size > SWAP_BYTES)
        more = (uint32_t)hak_max(1, SWAP_BYTES / size);
    size_t bytes = more * size;
    if (ring->limit >= HAK_RING_MIN &&
        own + bytes + OTHERS_WEIGHT * (mine->held - own) > hak_quarantine_thread_bytes() && !steal(mine, cls))
        return 0;
    *scarce = !total_allows(ring, size, bytes);
    if (!*scarce)
        return more;
    return ring->limit == 0;
}

/* Gives the class's swap `mask` + 1 places, unless it has as many. */
static void swap_open(hak_guarded *mine, unsigned cls, uint32_t mask) {
    hak_ring *ring = &mine->rings[cls];
    size_t before = ring->limit != 0 ? swap_bytes(mine, cls) : 0;
    if (ring->limit != 0 && mask <= ring->swap_mask)
        return;
    ring->swap_mask = mask;
    mine->swapped += swap_bytes(mine, cls) - before;
    hold(swap_bytes(mine, cls) - before);
}

/* Makes the ring longer, when the budgets of class, thread and process allow it. */
static bool ring_extend(hak_guarded *mine, unsigned cls) {
    hak_ring *ring = &mine->rings[cls];
    if (ring->limit >= mine->most[cls] || !hak_hardening.quarantine)
        return false;
    bool scarce;
    uint32_t more = places_more(mine, cls, &scarce);
    if (more == 0 || !hak_ring_map(mine, cls, ring->limit + more))
        return false;
    swap_open(mine, cls, swap_mask(cls, scarce));
    HAK_SHOW(ring->limit, ring->limit + more);
    ring->stop = ring->slots + ring->limit;
    mine->held += more * (size_t)hak_classes[cls].size;
    hold(more * (size_t)hak_classes[cls].size);
    return true;
}

void *hak_quarantine_turn_slow(void *obj, unsigned cls) {
    hak_guarded *mine = hak_guarded_mine;
    hak_quarantine_turned(mine, cls);
    if (mine == &hak_guarded_nobody)
        return obj; /* no quarantine: the object goes home at once */
    hak_ring *ring = &mine->rings[cls];
    size_t size = hak_classes[cls].size;
    if (!ring_extend(mine, cls)) {
        if (ring->limit == 0)
            return obj;
        HAK_SHOW(ring->in, ring->slots);
        if (ring->limit == 1 && size >= ALWAYS_PURGED &&
            hak_hardening.zero) /* it reads as zero, before and after */
            (void)hak_os_purge((uintptr_t)obj, hak_align_down(size, hak_os_page), HAK_PURGE_NOW);
    }
    return hak_ring_exchange(mine, obj, cls, size);
}

void *hak_quarantine_first(void *obj, unsigned cls) {
    hak_guarded *mine = hak_guarded_mine;
    hak_place place;
    if (mine == &hak_guarded_nobody || !hak_ledger_find(obj, &place))
        return obj;
    hak_record_store(place.record, hak_record_freed(mine->owner, hak_record_load(place.record)));
    return hak_ring_exchange(mine, obj, cls, place.size);
}
