/* quarantine.c: sends the slots of threads' rings on: those of ended threads, and all of them when memory is wanted
 * back; see quarantine.h. */
#include "hardening/quarantine_own.h"

#include "allocator/os/os.h"
#include "hardening/common.h"
#include "hardening/ring.h"

enum { ENDED_MS = 1000 }; /* after it the slots that an ended thread held go on to the common rings */

void (*hak_quarantine_home)(void *obj, unsigned cls);

void hak_quarantine_give_home(void *obj, unsigned cls) {
    (HAK_DEBUG_BUILD && hak_quarantine_home != NULL ? hak_quarantine_home : hak_hardening.give)(obj, cls);
}

static void purge(uintptr_t start, size_t size) {
    (void)hak_os_purge(start, size, HAK_PURGE_NOW);
}

/* Purges the pages of an empty state's swaps and rings: every place there is NULL, and a purged page reads as zero. */
static HAK_UNSEEN void purge_empty(hak_guarded *state) {
    uintptr_t from = hak_align_up((uintptr_t)state->swaps, hak_os_page);
    purge(from, (uintptr_t)state + hak_guarded_bytes() - from);
    hak_ring_each_apart(state, purge);
}

/* Empties the waiting states whose threads had ended by `before`, in that order: the slots of the last one are to leave
 * the common rings last. The empty ones stay where a new thread finds them, and each filled one goes back at once: a
 * thread that finds none maps another one, which stays for ever. */
static void flush_waiting(uint64_t before, hak_ring_way *way) {
    for (hak_guarded *state = hak_guarded_take_ended(before), *next; state != NULL; state = next) {
        next = state->next_waiting;
        /* `uses` is odd while the state changes: see sweep_ring. */
        atomic_fetch_add_explicit(&state->uses, 1, memory_order_relaxed);
        atomic_thread_fence(memory_order_release);
        hak_ring_empty(state, way);
        purge_empty(state);
        atomic_fetch_add_explicit(&state->uses, 1, memory_order_release);
        hak_guarded_wait(state);
    }
}

void hak_quarantine_rest_ended(void) {
    if (atomic_load_explicit(&hak_guarded_waiting_filled, memory_order_relaxed) != 0)
        flush_waiting(UINT64_MAX, hak_ring_rest);
}

void hak_quarantine_flush(void) {
    if (hak_guarded_mine != &hak_guarded_nobody)
        hak_ring_empty(hak_guarded_mine, hak_ring_home);
    flush_waiting(UINT64_MAX, hak_ring_home);
    hak_common_flush();
}

void hak_quarantine_trim(void) {
    if (hak_guarded_mine != &hak_guarded_nobody)
        hak_ring_trim(hak_guarded_mine);
    flush_waiting(UINT64_MAX, hak_ring_home);
    hak_common_flush();
}

void hak_quarantine_idle(uint64_t now) {
    if (atomic_load_explicit(&hak_guarded_waiting_filled, memory_order_relaxed) != 0)
        flush_waiting(now - ENDED_MS, hak_ring_rest);
    hak_common_idle();
}
