/* quarantine_state.c: the states that the hardened variant keeps per thread: how they begin, wait for a new thread, and
 * go on in a child; see quarantine.h. */
#include "hardening/quarantine_own.h"

#include "allocator/os/os.h"
#include "allocator/pages/release.h"
#include "hardening/common.h"
#include "hardening/ring.h"
#include "hardening/seal.h"
#include "hardening/tally.h"

#include <string.h>

hak_guarded hak_guarded_nobody;
HAK_HIDDEN _Thread_local hak_guarded *hak_guarded_mine = &hak_guarded_nobody;
hak_guarded *_Atomic hak_guarded_all;
/* Lists of those without a thread, by kind, the one whose thread ended last first; hak_hardening_lock. */
static struct {
    hak_guarded *filled, *empty;
    hak_guarded *small; /* empty, and without room apart */
} waiting[HAK_KINDS];
_Atomic size_t hak_guarded_waiting_filled;
_Atomic size_t hak_quarantine_states;
static uint32_t owners;
/* A state takes up to eight mappings of its own for rings, and a process may have 65,530 of all kinds. So many threads
 * hold more than they may together, and all their rings are fronts. hak_region_lock. */
enum { APART_MOST = 1024 };
static unsigned apart;
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

size_t hak_guarded_bytes(void) {
    return hak_align_up(sizeof(hak_guarded), hak_os_page) + hak_ring_rooms(false);
}

static void begin_apart_locked(hak_extent *extent) {
    hak_lock_check_held(&hak_region_lock);
    if (apart == APART_MOST || !hak_extent_begin(extent, hak_ring_rooms(true), 0, hak_os_page))
        return;
    if (extent->room < hak_ring_rooms(true))
        hak_extent_end(extent);
    else
        apart++;
}

static hak_guarded *guarded_map(void) {
    hak_guarded *guarded = (hak_guarded *)hak_os_map_between(hak_guarded_bytes());
    if (guarded == NULL)
        return NULL;
    hak_lock_take(&hak_region_lock);
    begin_apart_locked(&guarded->apart);
    hak_lock_give(&hak_region_lock);
    hak_seal_metadata((uintptr_t)guarded, hak_guarded_bytes());
    hak_ring_begin(guarded);
    hak_lock_take(&hak_hardening_lock);
    owners = owners % (HAK_RECORD_OWNERS - 1) + 1; /* 1 to HAK_RECORD_OWNERS - 1 */
    guarded->owner = owners;
    guarded->next = atomic_load_explicit(&hak_guarded_all, memory_order_relaxed);
    atomic_store_explicit(&hak_guarded_all, guarded, memory_order_release);
    hak_lock_give(&hak_hardening_lock);
    return guarded;
}

/* Debug builds: unmaps a state. */
static void guarded_unmap(hak_guarded *guarded) {
    hak_ring_unmap_apart(guarded);
    if (guarded->apart.start != 0)
        hak_extent_end(&guarded->apart);
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

static void waiting_add_locked(hak_guarded *state) {
    hak_lock_check_held(&hak_hardening_lock);
    bool filled = state->held != 0;
    hak_guarded **list = filled                    ? &waiting[state->typed].filled
                         : state->apart.start != 0 ? &waiting[state->typed].empty
                                                   : &waiting[state->typed].small;
    state->next_waiting = *list;
    *list = state;
    hak_counter_add(&hak_guarded_waiting_filled, filled);
}

void hak_guarded_wait(hak_guarded *state) {
    hak_lock_take(&hak_hardening_lock);
    waiting_add_locked(state);
    hak_lock_give(&hak_hardening_lock);
}

hak_guarded *hak_guarded_take_ended(uint64_t before) {
    hak_guarded *all = NULL;
    hak_lock_take(&hak_hardening_lock);
    for (unsigned kind = 0; kind < HAK_KINDS; kind++)
        for (hak_guarded **at = &waiting[kind].filled, *state; (state = *at) != NULL;) {
            if (state->ended_at > before) {
                at = &state->next_waiting;
                continue;
            }
            *at = state->next_waiting;
            hak_counter_sub(&hak_guarded_waiting_filled, 1);
            state->next_waiting = all;
            all = state;
        }
    hak_lock_give(&hak_hardening_lock);
    return all;
}

/* A state of that kind that waits; NULL: none does. One that holds slots first, which stay in use. */
static hak_guarded *waiting_take(bool typed) {
    hak_lock_take(&hak_hardening_lock);
    bool filled = waiting[typed].filled != NULL;
    hak_guarded **list = filled                         ? &waiting[typed].filled
                         : waiting[typed].empty != NULL ? &waiting[typed].empty
                                                        : &waiting[typed].small;
    hak_guarded *found = *list;
    if (found != NULL)
        *list = found->next_waiting;
    hak_counter_sub(&hak_guarded_waiting_filled, filled);
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
    hak_ring_begin_lines(guarded);
    hak_rng_seed(&guarded->rng);
    swap_draw(guarded);
    hak_guarded_mine = guarded;
    atomic_fetch_add_explicit(&hak_quarantine_states, 1, memory_order_relaxed);
}

/* The slots stay in the state's rings. */
void hak_quarantine_end(void) {
    hak_guarded *guarded = hak_guarded_mine;
    if (guarded == &hak_guarded_nobody)
        return;
    hak_guarded_mine = &hak_guarded_nobody;
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
        hak_ring_close(guarded, cls);
    guarded->ended_at = hak_os_milliseconds();
    atomic_fetch_sub_explicit(&hak_quarantine_states, 1, memory_order_relaxed);
    atomic_store_explicit(&guarded->sweeps, false,
                          memory_order_release); /* a report may have jumped out of a step */
    hak_lock_take(&hak_hardening_lock);
    atomic_fetch_add_explicit(&guarded->uses, 1, memory_order_release); /* after the rings have changed */
    waiting_add_locked(guarded);
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

/* Only a thread's states have open blocks, and its frees in them count as done or as promised. */
static void tally_again(void) {
    const hak_guarded *of[HAK_KINDS] = {NULL}, *mine = hak_guarded_mine;
    of[mine->typed] = mine;
    of[!mine->typed] = mine->other;
    for (unsigned kind = 0; kind < HAK_KINDS; kind++)
        for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
            hak_tally_again(kind, cls, of[kind] != NULL ? of[kind]->block[cls] : 0);
}

/* What the states of a list hold. */
typedef struct sums {
    size_t held, bare, pinned;
} sums;

static void count_state(const hak_guarded *state, sums *all) {
    all->held += state->held + state->swapped;
    hak_ring_count(state, &all->bare, &all->pinned);
}

/* Counts again what is held by states that this process can use, and by the common rings. In a child, states of threads
 * that it does not have are lost and do not count, and neither do those that a thread was emptying. */
static void count_again(void) {
    const hak_guarded *mine = hak_guarded_mine;
    sums all = {0};
    if (mine != &hak_guarded_nobody)
        count_state(mine, &all);
    if (mine->other != NULL)
        count_state(mine->other, &all);
    for (unsigned kind = 0; kind < HAK_KINDS; kind++)
        for (const hak_guarded *state = waiting[kind].filled; state != NULL; state = state->next_waiting)
            count_state(state, &all);
    hak_common_totals(&all.bare);
    tally_again();
    atomic_store_explicit(&hak_quarantine_states, 0u + (mine != &hak_guarded_nobody) + (mine->other != NULL),
                          memory_order_relaxed);
    atomic_store_explicit(&hak_quarantine_held, all.held, memory_order_relaxed);
    atomic_store_explicit(&hak_release_slabs_bare, all.bare, memory_order_relaxed);
    atomic_store_explicit(&hak_ring_pinned, all.pinned, memory_order_relaxed);
}

/* The child uses only this thread's state and those that waited. It never looks at states of threads that it does not
 * have. The fork may have interrupted the thread anywhere in malloc or free. So all random numbers are drawn again in
 * place, and the swaps are shuffled at the end of the next exchange: siblings hand out different slots. */
void hak_quarantine_fork_child(void) {
    if (common_rng.next != 0)
        hak_rng_seed(&common_rng);
    count_again();
    hak_guarded *mine = hak_guarded_mine;
    if (mine == &hak_guarded_nobody)
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
    hak_ring_begin_lines(state);
    memset(state->seen, 0, sizeof state->seen);
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
        state->seen_turns[cls] = atomic_load(&state->turns[cls]);
    memset(state->used_at, 0, sizeof state->used_at);
    memset(state->used_look, 0, sizeof state->used_look);
    memset(state->purge_due, 0, sizeof state->purge_due);
    memset(state->around_due, 0, sizeof state->around_due);
    state->looks = 0;
    state->draws_left = 0;
    state->idle_cls = 0;
    state->idle_in = NULL;
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
    for (unsigned kind = 0; kind < HAK_KINDS && hak_guarded_mine == &hak_guarded_nobody; kind++) {
        hak_guarded *state = waiting_take(kind);
        hak_guarded_mine = state != NULL ? state : &hak_guarded_nobody;
    }
    hak_guarded *mine = hak_guarded_mine;
    for (hak_guarded *state = hak_guarded_all, *next; state != NULL; state = next) {
        next = state->next;
        if (state != mine)
            guarded_unmap(state);
    }
    memset(waiting, 0, sizeof waiting);
    owners = 0;
    apart = mine->apart.start != 0;
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
    atomic_store(&hak_release_slabs_bare, 0);
    atomic_store(&hak_ring_pinned, 0);
    atomic_store(&hak_guarded_waiting_filled, 0);
    hak_common_reset();
    memset(hak_tallies, 0, sizeof hak_tallies);
    only_mine();
    atomic_store(&hak_quarantine_states, hak_guarded_mine != &hak_guarded_nobody ? 1 : 0);
    if (hak_guarded_mine != &hak_guarded_nobody)
        state_reset(hak_guarded_mine);
}
