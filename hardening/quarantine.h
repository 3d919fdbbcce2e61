/* quarantine.h: freed slots wait before they are handed out again; and what else a thread of the hardened variant owns.
 *
 *   free(obj) --> ring: first in, first out --> one of the swap's places, drawn at random --> bin --> malloc
 *
 * Per thread and class, pointers only. A ring begins short and is made longer each time it has gone round, as long as the
 * thread's quarantine holds less than its bytes; when it holds too much, the class that holds most gives some. Slots of
 * up to SMALL bytes, which exploits live on, may have all of it for one class: more than 65,536 slots. The state of a
 * thread that ends keeps its contents and waits for a new thread, so that ending a thread frees nothing early. */
#ifndef HAK_QUARANTINE_H
#define HAK_QUARANTINE_H

#include "hardening/ledger.h"
#include "hardening/random.h"

enum {
    HAK_SWAP_PLACES = 16,
    HAK_SITES = 1024, /* per thread, by a hash of the return address */
    /* A ring that does not fit into the second-level cache has its slots and records fetched so many places ahead. */
    HAK_RING_AHEAD = 24,
};

typedef struct hak_ring {
    void **slots;   /* `most` of them */
    uint32_t at;    /* where the next object goes */
    uint32_t limit; /* how many are in use; 0: the ring has not begun, or there is none */
    uint32_t most;
    uint16_t swap_mask; /* places of the swap in use, less one */
    uint16_t deep;      /* 1: fetch ahead */
    void *swap[HAK_SWAP_PLACES];
} hak_ring;

/* What the hardened variant keeps per thread. */
typedef struct hak_guarded {
    hak_ring rings[HAK_TAGS];
    hak_rng rng;
    uint32_t owner; /* number of this state in records; 0: the state of threads without one */
    _Atomic uint32_t sites[HAK_SITES]; /* allocations of each call site until one is sampled; 1 at first */
    uint32_t sites_known[HAK_SITES / 32];
    size_t held;              /* bytes that the rings may hold as they are now */
    uintptr_t sweep_at;       /* address where the running sweep goes on */
    struct hak_guarded *next; /* all of them, in order of birth; never removed */
    struct hak_guarded *next_waiting;
    void (*give)(void *obj, unsigned cls);
    uint8_t swap_random[256]; /* consumed one by one */
    uint8_t swap_next;
    bool in_use;
    bool lost; /* its thread is not in this process: what it did last may be half done */
} hak_guarded;

/* The calling thread's. */
extern HAK_HIDDEN _Thread_local hak_guarded *hak_guarded_mine;

/* All states that ever were, for sweeps; pairs: release in quarantine.c, acquire in readers. */
extern hak_guarded *_Atomic hak_guarded_all;

/* Bytes held by all rings. */
extern _Atomic size_t hak_quarantine_held;

/* `give` takes an object of a class to its depot. */
void hak_quarantine_begin(void (*give)(void *obj, unsigned cls));
void hak_quarantine_end(void);
void hak_quarantine_fork_child(void);
void hak_quarantine_reset(void); /* debug builds: nothing is in quarantine; see hak_policy_reset */

/* The ring has come round, or there is none: makes it longer, or begins it again. As hak_ring_exchange. */
void *hak_quarantine_turn_slow(void *obj, unsigned cls);
void hak_quarantine_draw_slow(hak_guarded *mine);

/* The calling thread's random numbers, or those of all threads without a state. */
uint64_t hak_random_next(void);

/* Has the lines on the way that will be touched when the slot is handed out. Small slots: two lines are all of it. */
HAK_INLINE void hak_ring_fetch(const char *obj, unsigned cls) {
    hak_place place;
    __builtin_prefetch(obj, 1);
    __builtin_prefetch((const void *)((uintptr_t)obj + HAK_CACHELINE), 1); /* of NULL as well: harmless */
    if (obj != NULL && hak_ledger_find(obj, cls, &place))
        __builtin_prefetch((const void *)place.record, 1);
}

/* Puts the object in and takes another slot of the class out; NULL when none is due. ring->at is below ring->limit. */
HAK_INLINE void *hak_ring_exchange(hak_guarded *mine, hak_ring *ring, void *obj, unsigned cls) {
    uint32_t at = ring->at;
    void **slot = &ring->slots[at];
    void *oldest = *slot;
    *slot = obj;
    ring->at = at + 1;
    if (HAK_UNLIKELY(oldest == NULL))
        return NULL;
    if (ring->deep)
        hak_ring_fetch(slot[HAK_RING_AHEAD], cls);
    uint8_t next = mine->swap_next++;
    void **place = &ring->swap[mine->swap_random[next] & ring->swap_mask];
    void *out = *place;
    *place = oldest;
    if (HAK_UNLIKELY(next == UINT8_MAX))
        hak_quarantine_draw_slow(mine);
    return out;
}

#endif
