/* quarantine.c: see quarantine.h. */
#include "hardening/quarantine.h"

#include "allocator/os/os.h"
#include "allocator/pages/release.h"
#include "hardening/common.h"
#include "hardening/ring.h"
#include "hardening/seal.h"

#include <string.h>

enum { ENDED_MS = 1000 }; /* how long what an ended thread held waits for a new one */

static hak_guarded
    nobody; /* of threads before their first and after their last call: rings without a place */
HAK_HIDDEN _Thread_local hak_guarded *hak_guarded_mine = &nobody;
hak_guarded *_Atomic hak_guarded_all;
static hak_guarded *waiting;
static _Atomic size_t waiting_held; /* of them, how many hold anything */
static uint32_t owners;
static hak_rng common_rng; /* hak_hardening_lock */
_Atomic size_t hak_quarantine_states;

void (*hak_quarantine_home)(void *obj, unsigned cls);

void hak_quarantine_give_home(void *obj, unsigned cls) {
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

static size_t guarded_bytes(void) {
    return hak_align_up(sizeof(hak_guarded), hak_os_page) + hak_ring_rooms(false);
}

static hak_guarded *guarded_map(void) {
    hak_guarded *guarded = (hak_guarded *)hak_os_map_between(guarded_bytes());
    if (guarded == NULL)
        return NULL;
    hak_lock_take(&hak_region_lock);
    if (hak_extent_begin(&guarded->deep, hak_ring_rooms(true), 0, hak_os_page) &&
        guarded->deep.room < hak_ring_rooms(true))
        hak_extent_end(&guarded->deep);
    hak_lock_give(&hak_region_lock);
    hak_seal_metadata((uintptr_t)guarded, guarded_bytes());
    hak_ring_begin(guarded);
    hak_lock_take(&hak_hardening_lock);
    owners = owners % (HAK_RECORD_OWNERS - 1) + 1; /* 1 to HAK_RECORD_OWNERS - 1 */
    guarded->owner = owners;
    guarded->next = atomic_load_explicit(&hak_guarded_all, memory_order_relaxed);
    atomic_store_explicit(&hak_guarded_all, guarded, memory_order_release);
    hak_lock_give(&hak_hardening_lock);
    return guarded;
}

/* Debug builds. */
static void guarded_unmap(hak_guarded *guarded) {
    hak_ring_unmap_deep(guarded);
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

static bool is_filled(const hak_guarded *state) {
    bool filled = false;
    for (unsigned cls = 1; cls <= HAK_CLASSES && !filled; cls++)
        filled = state->rings[cls].limit != 0;
    return filled;
}

/* The list of those that wait; the hardening lock is held. */
static void waiting_add(hak_guarded *state) {
    state->next_waiting = waiting;
    waiting = state;
    hak_counter_add(&waiting_held, is_filled(state));
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
    if (found != NULL)
        hak_counter_sub(&waiting_held, is_filled(found));
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
    atomic_fetch_add_explicit(&hak_quarantine_states, 1, memory_order_relaxed);
}

/* The state keeps what its rings hold. */
void hak_quarantine_end(void) {
    hak_guarded *guarded = hak_guarded_mine;
    if (guarded == &nobody)
        return;
    hak_guarded_mine = &nobody;
    guarded->ended_at = hak_os_milliseconds();
    atomic_fetch_sub_explicit(&hak_quarantine_states, 1, memory_order_relaxed);
    atomic_store_explicit(&guarded->sweeps, false,
                          memory_order_release); /* a report may have jumped out of a step */
    hak_lock_take(&hak_hardening_lock);
    atomic_fetch_add_explicit(&guarded->uses, 1, memory_order_release); /* after the rings have changed */
    waiting_add(guarded);
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
static void count_anew(void) {
    size_t held = 0, bare = 0, pinned = 0;
    for (hak_guarded *state = hak_guarded_all; state != NULL; state = state->next)
        if (state == hak_guarded_mine || state == hak_guarded_mine->other ||
            atomic_load_explicit(&state->uses, memory_order_relaxed) % 2 == 0) {
            held += state->held + state->swapped;
            hak_ring_count(state, &bare, &pinned);
        }
    hak_common_totals(&bare, &pinned);
    atomic_store_explicit(&hak_quarantine_states,
                          0u + (hak_guarded_mine != &nobody) + (hak_guarded_mine->other != NULL),
                          memory_order_relaxed);
    atomic_store_explicit(&hak_quarantine_held, held, memory_order_relaxed);
    atomic_store_explicit(&hak_release_slabs_bare, bare, memory_order_relaxed);
    atomic_store_explicit(&hak_ring_pinned, pinned, memory_order_relaxed);
}

/* In the child only this thread's state is used, and those that waited; those of the threads that it does not have stay
 * as they are, and are looked at by nobody. The fork may have interrupted the thread anywhere in malloc or free, so
 * every number is drawn anew in its place, and the swaps are shuffled at the end of the next exchange: siblings hand
 * out different slots. */
void hak_quarantine_fork_child(void) {
    if (common_rng.next != 0)
        hak_rng_seed(&common_rng);
    count_anew();
    hak_common_fork_child();
    hak_guarded *mine = hak_guarded_mine;
    if (mine == &nobody)
        return;
    hak_rng_seed(&mine->rng);
    mine->draws = hak_rng_next(&mine->rng);
    swap_draw(mine);
    mine->swap_next = UINT8_MAX;
    hak_ring_draw(mine);
    mine->shuffle_due = true;
}

static void state_reset(hak_guarded *state) {
    hak_ring_reset(state);
    memset(state->seen, 0, sizeof state->seen);
    memset(state->seen_turns, 0, sizeof state->seen_turns);
    memset(state->used_at, 0, sizeof state->used_at);
    memset(state->bared, 0, sizeof state->bared);
    state->draws_left = 0;
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
    atomic_store(&hak_release_slabs_bare, 0);
    atomic_store(&waiting_held, 0);
    hak_common_reset();
    only_mine();
    if (hak_guarded_mine != &nobody)
        state_reset(hak_guarded_mine);
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
        if (hak_classes[cls].size <= HAK_RING_DEEP && state->mapped[cls] != 0)
            (void)hak_os_purge((uintptr_t)state->rings[cls].slots, state->mapped[cls] * sizeof(void *),
                               HAK_PURGE_NOW);
}

/* One state after the other leaves the list of those that wait, is emptied if its thread has ended by `before`, and
 * goes back: nobody else has it meanwhile. */
static void flush_waiting(uint64_t before, hak_ring_way *way) {
    hak_guarded *emptied = NULL;
    for (;;) {
        hak_lock_take(&hak_hardening_lock);
        hak_guarded *state = waiting;
        if (state != NULL) {
            waiting = state->next_waiting;
            hak_counter_sub(&waiting_held, is_filled(state));
        }
        hak_lock_give(&hak_hardening_lock);
        if (state == NULL)
            break;
        if (state->ended_at <= before && is_filled(state)) {
            /* Odd while it changes: see sweep_ring. */
            atomic_fetch_add_explicit(&state->uses, 1, memory_order_relaxed);
            atomic_thread_fence(memory_order_release);
            hak_ring_empty(state, way);
            purge_empty(state);
            atomic_fetch_add_explicit(&state->uses, 1, memory_order_release);
        }
        state->next_waiting = emptied;
        emptied = state;
    }
    hak_lock_take(&hak_hardening_lock);
    while (emptied != NULL) {
        hak_guarded *next = emptied->next_waiting;
        waiting_add(emptied);
        emptied = next;
    }
    hak_lock_give(&hak_hardening_lock);
}

void hak_quarantine_rest_ended(void) {
    if (atomic_load_explicit(&waiting_held, memory_order_relaxed) != 0)
        flush_waiting(UINT64_MAX, hak_ring_rest);
}

void hak_quarantine_flush(void) {
    if (hak_guarded_mine != &nobody)
        hak_ring_empty(hak_guarded_mine, hak_ring_home);
    flush_waiting(UINT64_MAX, hak_ring_home);
    hak_common_flush();
}

void hak_quarantine_trim(void) {
    if (hak_guarded_mine != &nobody)
        hak_ring_trim(hak_guarded_mine);
    flush_waiting(UINT64_MAX, hak_ring_home);
    hak_common_flush();
}

void hak_quarantine_idle(uint64_t now) {
    if (atomic_load_explicit(&waiting_held, memory_order_relaxed) != 0)
        flush_waiting(now - ENDED_MS, hak_ring_rest);
}

void *hak_quarantine_first(void *obj, unsigned cls) {
    hak_guarded *mine = hak_guarded_mine;
    hak_place place;
    if (mine == &nobody || !hak_ledger_find(obj, &place))
        return hak_ring_common(obj, cls, false);
    hak_record_store(place.record, hak_record_freed(mine->owner, hak_record_load(place.record)));
    return hak_ring_exchange(mine, obj, cls, place.size);
}
