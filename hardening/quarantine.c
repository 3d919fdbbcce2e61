/* quarantine.c: see quarantine.h. */
#include "hardening/quarantine.h"

#include "allocator/os/os.h"
#include "hardening/seal.h"

#include <string.h>

enum {
    /* Slots up to HAK_RING_DEEP bytes may fill the whole quarantine (thread_bytes) with one class: 68,000 slots of 80
     * bytes, so that a 64-byte object does not come back within 65,536 rounds. Larger ones are limited by class,
     * because what circulates should stay in the second-level cache: see docs/MITIGATIONS.md for how workloads a and b
     * were measured. */
    LARGE_CLASS_BYTES = 32 * HAK_KIB,
    RING_MIN = 8,
    RING_MOST = 1 << 17,
    RING_FIRST = 64,
    /* What other classes hold counts so many times: a thread that uses many classes keeps 2 MiB, not 5.5. */
    OTHERS_WEIGHT = 4,
    /* All threads together. */
    TOTAL_BYTES = 24 * HAK_MIB,
    /* A swap of so many bytes at most, but two places at least. */
    SWAP_BYTES = 16 * HAK_KIB,
    /* How much is taken from the class that holds most, when another one wants to grow: an eighth. */
    STEAL_PART = 8,
    /* When all threads together hold what they may: slots up to this size have RING_MIN places nevertheless, some 300
     * KiB a thread with their swaps; larger ones one place, and one in the swap. */
    ALWAYS_KEPT = HAK_KIB,
    /* And of those from this size on no page stays resident in that place. */
    ALWAYS_PURGED = 8 * HAK_KIB,
    /* malloc_trim leaves so much to the calling thread, and no slots above this size. */
    TRIMMED_BYTES = 256 * HAK_KIB,
    TRIMMED_SLOT = 4 * HAK_KIB,
    /* How long what an ended thread held waits for a new one, and what a thread holds of a class that it frees nothing
     * of any more. */
    ENDED_MS = 1000,
    UNUSED_MS = 10 * 1000,
};

static hak_guarded
    nobody; /* of threads before their first and after their last call: rings without a place */
HAK_HIDDEN _Thread_local hak_guarded *hak_guarded_mine = &nobody;
hak_guarded *_Atomic hak_guarded_all;
static hak_guarded *_Atomic waiting; /* read at a glance where the total is used up */
static uint32_t owners;
static hak_rng common_rng; /* hak_hardening_lock */
_Atomic size_t hak_quarantine_held;

void (*hak_quarantine_home)(void *obj, unsigned cls);

static void give_home(void *obj, unsigned cls) {
    (HAK_DEBUG_BUILD && hak_quarantine_home != NULL ? hak_quarantine_home : hak_hardening.give)(obj, cls);
}

uint64_t hak_random_next(void) {
    hak_guarded *mine = hak_guarded_mine;
    if (mine != &nobody)
        return hak_rng_next(&mine->rng);
    hak_lock_take(&hak_hardening_lock);
    uint64_t number = hak_rng_next(&common_rng);
    hak_lock_give(&hak_hardening_lock);
    return number;
}

/* A thread without a state of its own leaves nothing for the next draw: others share that state. */
uint32_t hak_random_slot_slow(uint32_t count) {
    hak_guarded *mine = hak_guarded_mine;
    uint64_t number = hak_random_next();
    if (mine != &nobody) {
        mine->draws = number >> HAK_DRAW_BITS;
        mine->draws_left = 64 / HAK_DRAW_BITS - 1;
    }
    return (uint32_t)((number & ((1u << HAK_DRAW_BITS) - 1)) * count >> HAK_DRAW_BITS);
}

uint64_t hak_quarantine_turns(unsigned cls) {
    /* acquire: what is read of records and bytes is read later; pairs with the publication of states, too */
    uint64_t turns = atomic_load_explicit(&nobody.turns[cls], memory_order_acquire);
    const hak_guarded *guarded = atomic_load_explicit(&hak_guarded_all, memory_order_acquire);
    for (; guarded != NULL; guarded = guarded->next)
        turns += atomic_load_explicit(&guarded->turns[cls], memory_order_acquire);
    return turns;
}

void hak_quarantine_turned(hak_guarded *mine, unsigned cls) {
    if (mine == &nobody) { /* there are others */
        atomic_fetch_add_explicit(&nobody.turns[cls], 1, memory_order_relaxed);
        return;
    }
    uint64_t turns = atomic_load_explicit(&mine->turns[cls], memory_order_relaxed);
    atomic_store_explicit(&mine->turns[cls], turns + 1, memory_order_relaxed);
}

static void hold(size_t bytes) {
    atomic_fetch_add_explicit(&hak_quarantine_held, bytes, memory_order_relaxed);
}
static void hold_no_more(size_t bytes) {
    atomic_fetch_sub_explicit(&hak_quarantine_held, bytes, memory_order_relaxed);
}

/* What a thread's rings may hold. */
static size_t thread_bytes(void) {
    return (size_t)hak_hardening.quarantine_kib * HAK_KIB;
}

/* And those of all threads together: no less than one thread's. */
static size_t total_bytes(void) {
    return hak_max((size_t)TOTAL_BYTES, 2 * thread_bytes());
}

/* Most slots of a class's ring. */
static uint32_t ring_most(unsigned cls) {
    size_t size = hak_classes[cls].size;
    size_t bytes = size <= HAK_RING_DEEP ? thread_bytes() : (size_t)LARGE_CLASS_BYTES;
    return (uint32_t)hak_max(RING_MIN, hak_min(bytes / size, RING_MOST));
}

/* Of a long ring only what is in use is mapped: its room is some MiB. */
static bool is_deep(unsigned cls) {
    return hak_classes[cls].size <= HAK_RING_DEEP;
}

/* Places that the class's ring has room for. */
static size_t ring_room(unsigned cls) {
    size_t slots = ring_most(cls) + HAK_RING_AHEAD;
    return is_deep(cls) ? hak_align_up(slots * sizeof(void *), hak_os_page) / sizeof(void *) : slots;
}

/* Bytes of the rooms of all long rings, or of all others. */
static size_t rooms_bytes(bool deep) {
    size_t slots = 0;
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
        slots += is_deep(cls) == deep ? ring_room(cls) : 0;
    return hak_align_up(slots * sizeof(void *), hak_os_page);
}

static void rings_init(hak_guarded *guarded) {
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

static size_t guarded_bytes(void) {
    return hak_align_up(sizeof(hak_guarded), hak_os_page) + rooms_bytes(false);
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

static hak_guarded *guarded_map(void) {
    hak_guarded *guarded = (hak_guarded *)hak_os_map_between(guarded_bytes());
    if (guarded == NULL)
        return NULL;
    hak_lock_take(&hak_region_lock);
    if (hak_extent_begin(&guarded->deep, rooms_bytes(true), 0, hak_os_page) &&
        guarded->deep.room < rooms_bytes(true))
        hak_extent_end(&guarded->deep);
    hak_lock_give(&hak_region_lock);
    hak_seal_metadata((uintptr_t)guarded, guarded_bytes());
    rings_init(guarded);
    hak_lock_take(&hak_hardening_lock);
    owners = owners % (HAK_RECORD_OWNERS - 1) + 1; /* 1 to HAK_RECORD_OWNERS - 1 */
    guarded->owner = owners;
    guarded->next = atomic_load_explicit(&hak_guarded_all, memory_order_relaxed);
    atomic_store_explicit(&hak_guarded_all, guarded, memory_order_release);
    hak_lock_give(&hak_hardening_lock);
    return guarded;
}

/* Debug builds: the long rings have no room yet. */
static void deep_unmap(hak_guarded *guarded) {
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++) {
        if (!is_deep(cls) || guarded->mapped[cls] == 0)
            continue;
        if (!guarded->deep.reserved)
            hak_os_unmap((uintptr_t)guarded->rings[cls].slots, guarded->mapped[cls] * sizeof(void *));
        guarded->mapped[cls] = 0;
    }
}

/* Debug builds. */
static void guarded_unmap(hak_guarded *guarded) {
    deep_unmap(guarded);
    if (guarded->deep.start != 0)
        hak_extent_end(&guarded->deep);
    hak_os_unmap_between((uintptr_t)guarded, guarded_bytes());
}

static void swap_draw(hak_guarded *mine) {
    for (size_t i = 0; i < sizeof mine->swap_random; i += 64)
        hak_rng_bytes(&mine->rng, mine->swap_random + i, 64);
}

/* Every call site is new. */
static void sites_restart(hak_guarded *guarded) {
    for (unsigned i = 0; i < HAK_SITES; i++) {
        guarded->sites[i] = 1;
        guarded->sites_seen[i] = 0;
    }
}

/* A state that waits, of that kind; NULL: none does. */
static hak_guarded *waiting_take(bool typed) {
    hak_lock_take(&hak_hardening_lock);
    hak_guarded *before = NULL, *found = waiting;
    while (found != NULL && found->typed != typed) {
        before = found;
        found = found->next_waiting;
    }
    if (found != NULL && before != NULL)
        before->next_waiting = found->next_waiting;
    else if (found != NULL)
        waiting = found->next_waiting;
    hak_lock_give(&hak_hardening_lock);
    return found;
}

void hak_quarantine_begin(bool typed) {
    hak_guarded *guarded = waiting_take(typed);
    if (guarded == NULL)
        guarded = guarded_map();
    if (guarded == NULL)
        return; /* no memory: this thread has no quarantine */
    guarded->typed = typed;
    guarded->other = NULL;
    guarded->draws_left = 0;
    atomic_fetch_add_explicit(&guarded->uses, 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release); /* before the rings change; pairs with the sweep of rings */
    sites_restart(guarded);
    hak_rng_seed(&guarded->rng);
    swap_draw(guarded);
    hak_guarded_mine = guarded;
}

/* The state keeps what its rings hold. */
void hak_quarantine_end(void) {
    hak_guarded *guarded = hak_guarded_mine;
    if (guarded == &nobody)
        return;
    hak_guarded_mine = &nobody;
    guarded->ended_at = hak_os_milliseconds();
    atomic_store_explicit(&guarded->sweeps, false,
                          memory_order_release); /* a report may have jumped out of a step */
    hak_lock_take(&hak_hardening_lock);
    atomic_fetch_add_explicit(&guarded->uses, 1, memory_order_release); /* after the rings have changed */
    guarded->next_waiting = waiting;
    waiting = guarded;
    hak_lock_give(&hak_hardening_lock);
}

void hak_quarantine_forsake(void) {
    if (hak_guarded_mine != &nobody && hak_guarded_mine != NULL) /* NULL: TLS is not there yet */
        atomic_store_explicit(&hak_guarded_mine->sweeps, false, memory_order_release);
    hak_guarded_mine = &nobody;
}

static void swap_shuffle(hak_guarded *mine, unsigned cls) {
    void **swap = mine->swaps[cls];
    for (uint32_t i = mine->rings[cls].swap_mask; i > 0; i--) {
        uint32_t other = hak_rng_below(&mine->rng, i + 1);
        void *obj = swap[i];
        HAK_SHOW(swap[i], swap[other]);
        HAK_SHOW(swap[other], obj);
    }
}

/* The end of an exchange. */
void *hak_quarantine_draw_slow(void *out) {
    hak_guarded *mine = hak_guarded_mine;
    swap_draw(mine);
    for (unsigned cls = 1; mine->shuffle_due && cls <= HAK_CLASSES; cls++)
        swap_shuffle(mine, cls);
    mine->shuffle_due = false;
    return out;
}

/* What lost threads' quarantines hold is no part of what this process may hold. */
static size_t held_here(void) {
    size_t held = 0;
    for (hak_guarded *state = hak_guarded_all; state != NULL; state = state->next)
        if (state == hak_guarded_mine || state == hak_guarded_mine->other ||
            atomic_load_explicit(&state->uses, memory_order_relaxed) % 2 == 0)
            held += state->held + state->swapped;
    return held;
}

/* In the child only this thread's state is used, and those that waited; those of the threads that it does not have stay
 * as they are, and are looked at by nobody. The fork may have interrupted the thread anywhere in malloc or free, so
 * every number is drawn anew in its place, and the swaps are shuffled at the end of the next exchange: siblings hand
 * out different slots. */
void hak_quarantine_fork_child(void) {
    if (common_rng.next != 0)
        hak_rng_seed(&common_rng);
    atomic_store_explicit(&hak_quarantine_held, held_here(), memory_order_relaxed);
    hak_guarded *mine = hak_guarded_mine;
    if (mine == &nobody)
        return;
    hak_rng_seed(&mine->rng);
    mine->draws = hak_rng_next(&mine->rng);
    swap_draw(mine);
    mine->swap_next = UINT8_MAX;
    mine->shuffle_due = true;
}

static void state_reset(hak_guarded *state) {
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++) {
        hak_ring *ring = &state->rings[cls];
        memset(ring->slots, 0, ring->limit * sizeof(void *));
        ring->in = ring->stop = ring->slots;
        ring->limit = 0;
    }
    deep_unmap(state); /* the next program asks the OS as often as the one before */
    memset(state->swaps, 0, sizeof state->swaps);
    memset(state->seen, 0, sizeof state->seen);
    memset(state->used_at, 0, sizeof state->used_at);
    state->draws_left = 0;
    state->held = state->swapped = 0;
    state->sweep_at = 0;
    state->sweep_turn = state->sweep_sample = 0;
    state->swap_next = 0;
    state->shuffle_due = false;
    atomic_store(&state->sweeps, false);
    sites_restart(state);
    hak_rng_seed(&state->rng);
    swap_draw(state);
}

/* The calling thread has a state, even when it has ended its own, and there is no other. */
static HAK_UNSEEN void only_mine(void) {
    if (hak_guarded_mine == &nobody && waiting != NULL)
        hak_guarded_mine = waiting;
    hak_guarded *mine = hak_guarded_mine;
    for (hak_guarded *state = hak_guarded_all, *next; state != NULL; state = next) {
        next = state->next;
        if (state != mine)
            guarded_unmap(state);
    }
    waiting = NULL;
    owners = 0;
    atomic_store(&hak_guarded_all, NULL);
    if (mine == &nobody)
        return;
    mine->owner = owners = 1;
    mine->typed = false;
    mine->other = mine->next = NULL;
    atomic_store(&mine->uses, 1);
    atomic_store(&hak_guarded_all, mine);
}

void hak_quarantine_reset(void) {
    common_rng.next = 0;
    nobody.draws_left = 0;
    atomic_store(&hak_quarantine_held, 0);
    only_mine();
    if (hak_guarded_mine != &nobody)
        state_reset(hak_guarded_mine);
}

/* Takes `count` places from `from` on away, whose objects go home; what lies behind them closes ranks. */
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

/* Takes `count` places of a ring away: empty ones, then those of the oldest slots. Those begin at `in`, and where the
 * ring is not full or has just come to its end, at its start. */
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

/* Bytes of the class's swap. */
static size_t swap_bytes(const hak_guarded *mine, unsigned cls) {
    return (size_t)(mine->rings[cls].swap_mask + 1) * hak_classes[cls].size;
}

/* Nothing of the class is in quarantine. */
static void class_flush(hak_guarded *state, unsigned cls) {
    if (state->rings[cls].limit == 0)
        return; /* and nothing in its swap: that is filled from a ring, and emptied here */
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

/* What an emptied state has of rings and swaps is all NULL, and need not be resident. */
static HAK_UNSEEN void purge_empty(hak_guarded *state) {
    uintptr_t from = hak_align_up((uintptr_t)state->swaps, hak_os_page);
    uintptr_t to = hak_align_down((uintptr_t)(state->swaps + HAK_TAGS), hak_os_page);
    if (from < to)
        (void)hak_os_purge(from, to - from, HAK_PURGE_NOW);
    from = hak_align_up((uintptr_t)(state + 1), hak_os_page);
    to = (uintptr_t)state + guarded_bytes();
    (void)hak_os_purge(from, to - from, HAK_PURGE_NOW);
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
        if (is_deep(cls) && state->mapped[cls] != 0)
            (void)hak_os_purge((uintptr_t)state->rings[cls].slots, state->mapped[cls] * sizeof(void *),
                               HAK_PURGE_NOW);
}

/* One state after the other leaves the list of those that wait, is emptied if its thread has ended by `before`, and
 * goes back: nobody else has it meanwhile. */
static void flush_waiting(uint64_t before) {
    hak_guarded *emptied = NULL;
    for (;;) {
        hak_lock_take(&hak_hardening_lock);
        hak_guarded *state = waiting;
        if (state != NULL)
            waiting = state->next_waiting;
        hak_lock_give(&hak_hardening_lock);
        if (state == NULL)
            break;
        if (state->ended_at <= before && state->held != 0) {
            /* Odd while it changes: see sweep_ring. */
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
        emptied->next_waiting = waiting;
        waiting = emptied;
        emptied = next;
    }
    hak_lock_give(&hak_hardening_lock);
}

void hak_quarantine_flush(void) {
    if (hak_guarded_mine != &nobody)
        flush_state(hak_guarded_mine);
    flush_waiting(UINT64_MAX);
}

void hak_quarantine_idle(uint64_t now) {
    if (atomic_load_explicit(&hak_quarantine_held, memory_order_relaxed) !=
        hak_guarded_mine->held + hak_guarded_mine->swapped)
        flush_waiting(now - ENDED_MS);
}

/* The class whose ring holds most. */
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
    for (unsigned cls = 1; mine != &nobody && cls <= HAK_CLASSES; cls++) {
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
    for (unsigned cls = 1; mine != &nobody && cls <= HAK_CLASSES; cls++)
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

/* Makes the class that holds most give some, if that is not `cls`; false when it is. */
static bool steal(hak_guarded *mine, unsigned cls) {
    unsigned most = fullest(mine);
    hak_ring *ring = &mine->rings[most];
    size_t held = (size_t)ring->limit * hak_classes[most].size;
    if (held < 2 * (size_t)mine->rings[cls].limit * hak_classes[cls].size + SWAP_BYTES) /* no to and fro */
        return false;
    if (ring->limit == 1)
        return false;
    ring_shorten(mine, most, (uint32_t)hak_max(1, ring->limit / STEAL_PART));
    return true;
}

/* Whether all threads together may hold `bytes` more for the ring; what ended threads held goes first. */
static bool total_allows(const hak_ring *ring, size_t size, size_t bytes) {
    if (atomic_load_explicit(&hak_quarantine_held, memory_order_relaxed) + bytes <= total_bytes())
        return true;
    if (waiting != NULL) /* a glance */
        flush_waiting(UINT64_MAX);
    return atomic_load_explicit(&hak_quarantine_held, memory_order_relaxed) + bytes <= total_bytes() ||
           (size <= ALWAYS_KEPT && ring->limit < RING_MIN);
}

/* How many places more the ring may have; 0: none. */
static uint32_t places_more(hak_guarded *mine, unsigned cls, bool *scarce) {
    const hak_ring *ring = &mine->rings[cls];
    size_t size = hak_classes[cls].size, own = ring->limit * size;
    uint32_t more = (uint32_t)hak_min(hak_max(RING_FIRST, ring->limit), mine->most[cls] - ring->limit);
    if (more * size > SWAP_BYTES)
        more = (uint32_t)hak_max(1, SWAP_BYTES / size);
    size_t bytes = more * size;
    if (ring->limit >= RING_MIN && own + bytes + OTHERS_WEIGHT * (mine->held - own) > thread_bytes() &&
        !steal(mine, cls))
        return 0;
    *scarce = !total_allows(ring, size, bytes);
    if (!*scarce)
        return more;
    return ring->limit == 0;
}

/* The class's swap gets as many places, if that is more than it has. */
static void swap_open(hak_guarded *mine, unsigned cls, uint32_t mask) {
    hak_ring *ring = &mine->rings[cls];
    size_t before = ring->limit != 0 ? swap_bytes(mine, cls) : 0;
    if (ring->limit != 0 && mask <= ring->swap_mask)
        return;
    ring->swap_mask = mask;
    mine->swapped += swap_bytes(mine, cls) - before;
    hold(swap_bytes(mine, cls) - before);
}

/* More places for the ring, if the class, the thread and all threads together may have them. */
static bool ring_extend(hak_guarded *mine, unsigned cls) {
    hak_ring *ring = &mine->rings[cls];
    if (ring->limit >= mine->most[cls] || !hak_hardening.quarantine)
        return false;
    bool scarce;
    uint32_t more = places_more(mine, cls, &scarce);
    if (more == 0 || !ring_map(mine, cls, ring->limit + more))
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
    if (mine == &nobody)
        return obj; /* no quarantine: straight home */
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
    if (mine == &nobody || !hak_ledger_find(obj, &place))
        return obj;
    hak_record_store(place.record, hak_record_freed(mine->owner, hak_record_load(place.record)));
    return hak_ring_exchange(mine, obj, cls, place.size);
}
