/* quarantine_state.c: the states that the hardened variant keeps per thread: how they begin, wait for a new thread, and
 * go on in a child; see quarantine.h. */
#include "hardening/quarantine_own.h"

#include "allocator/os/os.h"
#include "hardening/seal.h"

#include <string.h>

enum {
    /* One class of slots up to HAK_RING_DEEP bytes may fill the whole quarantine of a thread: 68,000 slots of 80 bytes,
     * so that a 64-byte object does not come back within 65,536 rounds. Larger classes have this limit, so that the
     * slots in use stay in the second-level cache: docs/MITIGATIONS.md says how workloads a and b were measured. */
    LARGE_CLASS_BYTES = 32 * HAK_KIB,
    RING_MOST = 1 << 17,
};

hak_guarded hak_guarded_nobody;
HAK_HIDDEN _Thread_local hak_guarded *hak_guarded_mine = &hak_guarded_nobody;
hak_guarded *_Atomic hak_guarded_all;
hak_guarded *_Atomic hak_guarded_waiting;
static uint32_t owners;
static hak_rng common_rng; /* hak_hardening_lock */

uint64_t hak_random_next(void) {
    hak_guarded *mine = hak_guarded_mine;
    if (mine != &hak_guarded_nobody)
        return hak_rng_next(&mine->rng);
    hak_lock_take(&hak_hardening_lock);
    uint64_t number = hak_rng_next(&common_rng);
    hak_lock_give(&hak_hardening_lock);
    return number;
}

/* A thread without a state of its own keeps no bits for the next draw, because it shares hak_guarded_nobody. */
uint32_t hak_random_slot_slow(uint32_t count) {
    hak_guarded *mine = hak_guarded_mine;
    uint64_t number = hak_random_next();
    if (mine != &hak_guarded_nobody) {
        mine->draws = number >> HAK_DRAW_BITS;
        mine->draws_left = 64 / HAK_DRAW_BITS - 1;
    }
    return (uint32_t)((number & ((1u << HAK_DRAW_BITS) - 1)) * count >> HAK_DRAW_BITS);
}

uint64_t hak_quarantine_turns(unsigned cls) {
    /* acquire: the caller reads records and bytes after this; pairs with the publication of states, too */
    uint64_t turns = atomic_load_explicit(&hak_guarded_nobody.turns[cls], memory_order_acquire);
    const hak_guarded *guarded = atomic_load_explicit(&hak_guarded_all, memory_order_acquire);
    for (; guarded != NULL; guarded = guarded->next)
        turns += atomic_load_explicit(&guarded->turns[cls], memory_order_acquire);
    return turns;
}

void hak_quarantine_turned(hak_guarded *mine, unsigned cls) {
    if (mine == &hak_guarded_nobody) { /* which threads share */
        atomic_fetch_add_explicit(&hak_guarded_nobody.turns[cls], 1, memory_order_relaxed);
        return;
    }
    uint64_t turns = atomic_load_explicit(&mine->turns[cls], memory_order_relaxed);
    atomic_store_explicit(&mine->turns[cls], turns + 1, memory_order_relaxed);
}

/* The most places of a class's ring. */
static uint32_t ring_most(unsigned cls) {
    size_t size = hak_classes[cls].size;
    size_t bytes = size <= HAK_RING_DEEP ? hak_quarantine_thread_bytes() : (size_t)LARGE_CLASS_BYTES;
    return (uint32_t)hak_max(HAK_RING_MIN, hak_min(bytes / size, RING_MOST));
}

/* Places for which the class's ring has address space. */
static size_t ring_room(unsigned cls) {
    size_t slots = ring_most(cls) + HAK_RING_AHEAD;
    return hak_ring_is_deep(cls) ? hak_align_up(slots * sizeof(void *), hak_os_page) / sizeof(void *) : slots;
}

/* Address space of all long rings, or of all short ones. Bytes. */
static size_t rooms_bytes(bool deep) {
    size_t slots = 0;
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
        slots += hak_ring_is_deep(cls) == deep ? ring_room(cls) : 0;
    return hak_align_up(slots * sizeof(void *), hak_os_page);
}

static void rings_init(hak_guarded *guarded) {
    void **shallow = (void **)(guarded + 1), **deep = (void **)guarded->deep.start;
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++) {
        void **slots = hak_ring_is_deep(cls) ? deep : shallow;
        guarded->rings[cls] = (hak_ring){.in = slots, .stop = slots, .slots = slots};
        guarded->most[cls] = hak_ring_is_deep(cls) && guarded->deep.start == 0 ? 0 : ring_most(cls);
        if (hak_ring_is_deep(cls))
            deep += ring_room(cls);
        else {
            guarded->mapped[cls] = (uint32_t)ring_room(cls);
            shallow += ring_room(cls);
        }
    }
}

size_t hak_guarded_bytes(void) {
    return hak_align_up(sizeof(hak_guarded), hak_os_page) + rooms_bytes(false);
}

HAK_UNSEEN bool hak_ring_map(hak_guarded *mine, unsigned cls, uint32_t places) {
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
    hak_guarded *guarded = (hak_guarded *)hak_os_map_between(hak_guarded_bytes());
    if (guarded == NULL)
        return NULL;
    hak_lock_take(&hak_region_lock);
    if (hak_extent_begin(&guarded->deep, rooms_bytes(true), 0, hak_os_page) &&
        guarded->deep.room < rooms_bytes(true))
        hak_extent_end(&guarded->deep);
    hak_lock_give(&hak_region_lock);
    hak_seal_metadata((uintptr_t)guarded, hak_guarded_bytes());
    rings_init(guarded);
    hak_lock_take(&hak_hardening_lock);
    owners = owners % (HAK_RECORD_OWNERS - 1) + 1; /* 1 to HAK_RECORD_OWNERS - 1 */
    guarded->owner = owners;
    guarded->next = atomic_load_explicit(&hak_guarded_all, memory_order_relaxed);
    atomic_store_explicit(&hak_guarded_all, guarded, memory_order_release);
    hak_lock_give(&hak_hardening_lock);
    return guarded;
}

/* Debug builds: unmaps the places of long rings. */
static void deep_unmap(hak_guarded *guarded) {
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++) {
        if (!hak_ring_is_deep(cls) || guarded->mapped[cls] == 0)
            continue;
        if (!guarded->deep.reserved)
            hak_os_unmap((uintptr_t)guarded->rings[cls].slots, guarded->mapped[cls] * sizeof(void *));
        guarded->mapped[cls] = 0;
    }
}

/* Debug builds: unmaps a state. */
static void guarded_unmap(hak_guarded *guarded) {
    deep_unmap(guarded);
    if (guarded->deep.start != 0)
        hak_extent_end(&guarded->deep);
    hak_os_unmap_between((uintptr_t)guarded, hak_guarded_bytes());
}

static void swap_draw(hak_guarded *mine) {
    for (size_t i = 0; i < sizeof mine->swap_random; i += 64)
        hak_rng_bytes(&mine->rng, mine->swap_random + i, 64);
}

/* No call site has been seen. */
static void sites_restart(hak_guarded *guarded) {
    for (unsigned i = 0; i < HAK_SITES; i++) {
        guarded->sites[i] = 1;
        guarded->sites_seen[i] = 0;
    }
}

/* Takes a state of that kind off the list of waiting ones; NULL when there is none. */
static hak_guarded *waiting_take(bool typed) {
    hak_lock_take(&hak_hardening_lock);
    hak_guarded *before = NULL, *found = hak_guarded_waiting;
    while (found != NULL && found->typed != typed) {
        before = found;
        found = found->next_waiting;
    }
    if (found != NULL && before != NULL)
        before->next_waiting = found->next_waiting;
    else if (found != NULL)
        hak_guarded_waiting = found->next_waiting;
    hak_lock_give(&hak_hardening_lock);
    return found;
}

void hak_quarantine_begin(bool typed) {
    hak_guarded *guarded = waiting_take(typed);
    if (guarded == NULL)
        guarded = guarded_map();
    if (guarded == NULL)
        return; /* out of memory: this thread has no quarantine */
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

/* The slots stay in the state's rings. */
void hak_quarantine_end(void) {
    hak_guarded *guarded = hak_guarded_mine;
    if (guarded == &hak_guarded_nobody)
        return;
    hak_guarded_mine = &hak_guarded_nobody;
    guarded->ended_at = hak_os_milliseconds();
    atomic_store_explicit(&guarded->sweeps, false,
                          memory_order_release); /* a report may have jumped out of a step */
    hak_lock_take(&hak_hardening_lock);
    atomic_fetch_add_explicit(&guarded->uses, 1, memory_order_release); /* after the rings have changed */
    guarded->next_waiting = hak_guarded_waiting;
    hak_guarded_waiting = guarded;
    hak_lock_give(&hak_hardening_lock);
}

void hak_quarantine_forsake(void) {
    if (hak_guarded_mine != &hak_guarded_nobody && hak_guarded_mine != NULL) /* NULL: TLS is not there yet */
        atomic_store_explicit(&hak_guarded_mine->sweeps, false, memory_order_release);
    hak_guarded_mine = &hak_guarded_nobody;
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

/* Runs at the end of an exchange. */
void *hak_quarantine_draw_slow(void *out) {
    hak_guarded *mine = hak_guarded_mine;
    swap_draw(mine);
    for (unsigned cls = 1; mine->shuffle_due && cls <= HAK_CLASSES; cls++)
        swap_shuffle(mine, cls);
    mine->shuffle_due = false;
    return out;
}

/* Bytes held by states that this process can use. In a child, states of threads that it does not have are lost and do
 * not count. */
static size_t held_here(void) {
    size_t held = 0;
    for (hak_guarded *state = hak_guarded_all; state != NULL; state = state->next)
        if (state == hak_guarded_mine || state == hak_guarded_mine->other ||
            atomic_load_explicit(&state->uses, memory_order_relaxed) % 2 == 0)
            held += state->held + state->swapped;
    return held;
}

/* The child uses only this thread's state and those that waited. It never looks at states of threads that it does not
 * have. The fork may have interrupted the thread anywhere in malloc or free. So all random numbers are drawn again in
 * place, and the swaps are shuffled at the end of the next exchange: siblings hand out different slots. */
void hak_quarantine_fork_child(void) {
    if (common_rng.next != 0)
        hak_rng_seed(&common_rng);
    atomic_store_explicit(&hak_quarantine_held, held_here(), memory_order_relaxed);
    hak_guarded *mine = hak_guarded_mine;
    if (mine == &hak_guarded_nobody)
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
    deep_unmap(state); /* so that the next test asks the OS as often as this one */
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

/* Unmaps all states but one, which becomes the calling thread's, even when the thread has ended its own. */
static HAK_UNSEEN void only_mine(void) {
    if (hak_guarded_mine == &hak_guarded_nobody && hak_guarded_waiting != NULL)
        hak_guarded_mine = hak_guarded_waiting;
    hak_guarded *mine = hak_guarded_mine;
    for (hak_guarded *state = hak_guarded_all, *next; state != NULL; state = next) {
        next = state->next;
        if (state != mine)
            guarded_unmap(state);
    }
    hak_guarded_waiting = NULL;
    owners = 0;
    atomic_store(&hak_guarded_all, NULL);
    if (mine == &hak_guarded_nobody)
        return;
    mine->owner = owners = 1;
    mine->typed = false;
    mine->other = mine->next = NULL;
    atomic_store(&mine->uses, 1);
    atomic_store(&hak_guarded_all, mine);
}

void hak_quarantine_reset(void) {
    common_rng.next = 0;
    hak_guarded_nobody.draws_left = 0;
    atomic_store(&hak_quarantine_held, 0);
    only_mine();
    if (hak_guarded_mine != &hak_guarded_nobody)
        state_reset(hak_guarded_mine);
}
