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

enum { HAK_SWAP_PLACES = 16 };

typedef struct hak_ring {
    void **slots;   /* `most` of them */
    uint32_t at;    /* where the next object goes */
    uint32_t limit; /* how many are in use; 0: the ring has not begun, or there is none */
    uint32_t most;
    uint32_t swap_mask; /* places of the swap in use, less one */
    void *swap[HAK_SWAP_PLACES];
} hak_ring;

/* What the hardened variant keeps per thread. */
typedef struct hak_guarded {
    hak_ring rings[HAK_TAGS];
    hak_rng rng;
    uint32_t owner;           /* number of this state in records; 0: the state of threads without one */
    uint32_t countdown;       /* allocations until the next sampled one */
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

/* The ring has come round: makes it longer, or begins it again. As hak_quarantine_pass. */
bool hak_quarantine_pass_slow(void **obj, unsigned cls);
void hak_quarantine_draw_slow(hak_guarded *mine);

/* The calling thread's random numbers, or those of all threads without a state. */
uint64_t hak_random_next(void);

/* Puts *obj in and takes another slot of the class out; false when none is due. */
HAK_INLINE bool hak_quarantine_pass(void **obj, unsigned cls) {
    hak_guarded *mine = hak_guarded_mine;
    hak_ring *ring = &mine->rings[cls];
    uint32_t at = ring->at;
    if (HAK_UNLIKELY(at == ring->limit))
        return hak_quarantine_pass_slow(obj, cls);
    void **slot = &ring->slots[at];
    void *oldest = *slot;
    *slot = *obj;
    ring->at = at + 1;
    if (HAK_UNLIKELY(oldest == NULL))
        return false;
    uint8_t next = mine->swap_next++;
    void **place = &ring->swap[mine->swap_random[next] & ring->swap_mask];
    if (HAK_UNLIKELY(next == UINT8_MAX))
        hak_quarantine_draw_slow(mine);
    void *out = *place;
    *place = oldest;
    __builtin_prefetch(oldest, 1);
    *obj = out;
    return out != NULL;
}

#endif
