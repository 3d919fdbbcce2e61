/* quarantine.h: freed slots wait here before malloc returns them again. Also the other state that the hardened variant
 * keeps per thread.
 *
 *   free(obj) --> ring: first in, first out --> one of the swap's places, drawn at random --> bin --> malloc
 *
 * Each thread has a ring and a swap per class; they contain pointers only. ring.h says how long a ring is. The state of
 * an ended thread keeps its slots for a second and waits for a new thread. Then the slots go on, in their order, to the
 * rings that all threads share (common.h). What a thread without a state frees goes there at once. */
#ifndef HAK_QUARANTINE_H
#define HAK_QUARANTINE_H

#include "hardening/ledger.h"
#include "hardening/random.h"

enum {
    HAK_SWAP_PLACES = 16,
    HAK_DRAW_BITS = 21,
    HAK_SITES = 1024, /* per thread, by a hash of the return address */
    /* A ring may be larger than the second-level cache. The slot and record so many places ahead are prefetched. */
    HAK_RING_AHEAD = 24,
    HAK_RING_DEEP = 96,      /* bytes: the largest slots whose rings may be that large */
    HAK_RING_FETCHED = 1024, /* bytes: prefetched of the slot of another class that leaves next */
};

/* The part of a class's quarantine that free uses. Sweeps and statistics read `in`, `limit` and the slots without a
 * lock. */
typedef struct hak_ring {
    void **in;          /* place of the oldest object, where the next one goes */
    void **stop;        /* where the block ends (tally.h), at the end of the places in use at the latest */
    uint16_t swap_mask; /* number of the swap's places in use, minus one */
    uint16_t drawn;     /* the swap's place from which the next slot leaves */
    uint32_t limit;     /* number of places in use */
    void **slots; /* address space for `most` places and HAK_RING_AHEAD that stay NULL; mapped in part */
} hak_ring;

/* The state that the hardened variant keeps per thread. */
typedef struct hak_guarded {
    uint32_t owner; /* number of this state in records; 0: the state of threads without one */
    uint8_t swap_next;
    bool shuffle_due;      /* in a forked child: shuffle the swaps when no exchange is going on */
    _Atomic uint32_t uses; /* number of beginnings and ends; odd while a thread has the state */
    hak_ring rings[HAK_TAGS];
    uint32_t most[HAK_TAGS];          /* the most places of each ring */
    _Atomic uint64_t turns[HAK_TAGS]; /* see hak_quarantine_turns */
    uint32_t mapped[HAK_TAGS];        /* mapped places of each ring */
    hak_extent apart;                 /* address space of deep and bare rings; start 0: there is none */
    hak_rng rng;
    uint64_t draws; /* random bits for places in slabs */
    unsigned draws_left;
    unsigned idle_cls; /* see is_idle in ring_turn.c */
    void **idle_in;
    size_t held, swapped;      /* bytes that rings of the present length may hold, and that the swaps may */
    uint64_t ended_at;         /* milliseconds; of a waiting state */
    uintptr_t sweep_at;        /* address at which the sweep continues */
    _Atomic bool sweeps;       /* true during a step of the sweep */
    unsigned sweep_turn;       /* number of steps */
    unsigned sweep_sample;     /* sampled object at which the sweep continues */
    bool typed;                /* for objects with a partition, which never mix with others */
    struct hak_guarded *other; /* the thread's state of the other kind; NULL: none */
    struct hak_guarded *next;  /* list of all states, in order of creation; none is ever removed */
    struct hak_guarded *next_waiting;
    /* The rest becomes zero while the state waits and is empty, and so do the places of the rings behind it: a thread
     * that gets the state sets it, or it only says when classes were used. */
    void *swaps[HAK_TAGS][HAK_SWAP_PLACES];
    uint8_t swap_random[256];              /* random bytes, used one by one */
    _Atomic uint32_t sites[HAK_SITES];     /* per call site: allocations until the next sample; 1 at first */
    _Atomic uint8_t sites_seen[HAK_SITES]; /* per call site: samples that were due, up to 255 */
    uint32_t seen[HAK_TAGS];               /* place of `in` in each ring at the last look at it */
    uint64_t seen_turns[HAK_TAGS];         /* `turns` of each class at that look */
    uint64_t used_at[HAK_TAGS];            /* milliseconds: when a look last found that either had changed */
    uint64_t looks;                        /* number of looks that found a change */
    uint64_t used_look[HAK_TAGS];          /* number of the last look that found one of this class */
    bool purge_due[HAK_TAGS];  /* slots were freed since the pages around resting ones went back */
    bool around_due[HAK_TAGS]; /* the same, for the pages of resting slots themselves */
    uint8_t block[HAK_TAGS];   /* frees of each ring's open block; 0: none is open */
    uint8_t in_line[HAK_TAGS]; /* frees since the last line of each ring, but for the open block's */
    uint32_t lines[HAK_TAGS];  /* lines of each ring */
    uint32_t opened[HAK_TAGS]; /* the stamp at the beginning of each ring's last block */
    uint32_t last[HAK_TAGS];   /* the stamp at its end */
    uint8_t made[HAK_TAGS];    /* the frees in it */
    uint16_t floors[HAK_TAGS], line_count[HAK_TAGS]; /* see ring.h, ring_own.h */
    uint8_t line[HAK_TAGS];                          /* frees of a line */
    uint32_t *stamps[HAK_TAGS]; /* of each ring's newest lines, by turns; behind the rings */
    uint32_t leaving;           /* slots that a ring still holds while it is emptied */
} hak_guarded;

/* The calling thread's state. */
extern HAK_HIDDEN _Thread_local hak_guarded *hak_guarded_mine;

/* All states that were ever created, for sweeps. Written with release in quarantine_state.c, read with acquire. */
extern hak_guarded *_Atomic hak_guarded_all;

/* Counts, over all threads, events after which a slot of the class may leave a quarantine, or was resized in place.
 * When two calls return the same number, no slot that was freed between them was handed out again. A call reads one
 * cache line per state. */
uint64_t hak_quarantine_turns(unsigned cls);

/* Counts one such event of the calling thread. Call it before the result of the event is published. */
void hak_quarantine_turned(hak_guarded *mine, unsigned cls);

/* States that threads have now. */
extern _Atomic size_t hak_quarantine_states;

/* Bytes that the rings and swaps of all threads hold, of slots that have memory. */
extern _Atomic size_t hak_quarantine_held;

/* Debug builds: a function that takes objects home in place of hak_hardening.give; NULL: none. */
extern HAK_HIDDEN void (*hak_quarantine_home)(void *obj, unsigned cls);
void hak_quarantine_give_home(void *obj, unsigned cls);

/* Begins a state for the calling thread. `typed`: for objects with a partition (typed.h). */
void hak_quarantine_begin(bool typed);
void hak_quarantine_end(void);
void hak_quarantine_forsake(void); /* takes the state from the thread; its slots are lost */
/* Sends the slots of ended threads to the common rings at once, because all rings hold what they may. */
void hak_quarantine_rest_ended(void);
/* Memory has run out: sends home all slots of the calling thread, of ended threads and of the common rings. */
void hak_quarantine_flush(void);
/* malloc_trim: sends home the slots of ended threads and of the common rings, and most of the calling thread's. */
void hak_quarantine_trim(void);
/* Sends the slots of threads that ended a while ago to the common rings. `now`: milliseconds. */
void hak_quarantine_idle(uint64_t now);
/* See hak_policy_cache_age. */
void hak_quarantine_age(bool sparse);
void hak_quarantine_fork_child(void);
void hak_quarantine_reset(void); /* debug builds: empties everything; see hak_policy_reset */

/* hak_ring_exchange for a ring that has come round or is empty: makes it longer, or begins again at its start. */
void *hak_quarantine_turn_slow(void *obj, unsigned cls);
/* hak_ring_exchange for a thread whose first call was the free of this slot; its state has begun since. */
void *hak_quarantine_first(void *obj, unsigned cls);
void *hak_quarantine_draw_slow(
    void *out); /* draws more random bytes for the swaps; returns `out`, for a tail call */

/* The next random number of the calling thread, or of the generator that threads without a state share. */
uint64_t hak_random_next(void);

/* Draws one of `count` slots, of at most 4,096. The bias is below 1 in 500. One random number serves three draws. */
uint32_t hak_random_slot_slow(uint32_t count);
HAK_INLINE uint32_t hak_random_slot(uint32_t count) {
    hak_guarded *mine = hak_guarded_mine;
    if (mine->draws_left == 0)
        return hak_random_slot_slow(count);
    uint64_t draw = mine->draws & ((1u << HAK_DRAW_BITS) - 1);
    mine->draws_left--;
    mine->draws >>= HAK_DRAW_BITS;
    return (uint32_t)(draw * count >> HAK_DRAW_BITS);
}

/* Prefetches the cache lines that are touched when the slot is handed out. A small slot is two lines at most. */
HAK_INLINE void hak_ring_fetch(const char *obj) {
    const hak_granule *granule = hak_granule_near((uintptr_t)obj);
    hak_place place;
    if (granule == NULL)
        return; /* the place is empty */
    __builtin_prefetch(obj, 1);
    __builtin_prefetch(obj + HAK_CACHELINE, 1);
    hak_granule_slot(granule, obj, &place);
    __builtin_prefetch((const void *)place.record, 1);
}

/* Prefetches a longer slot, which was drawn and leaves next, but not its record: that lies beside others of its slab.
 * NULL does no harm. */
HAK_INLINE void hak_ring_fetch_long(const char *obj, size_t size) {
    for (size_t at = 0; at < size && at < HAK_RING_FETCHED; at += HAK_CACHELINE)
        __builtin_prefetch((const void *)((uintptr_t)obj + at), 1);
}

/* Puts the object into the ring, and takes out another slot of the class, or NULL when none is due. `size`: bytes of a
 * slot of the class. */
HAK_INLINE void *hak_ring_exchange(hak_guarded *mine, void *obj, unsigned cls, size_t size) {
    hak_ring *ring = &mine->rings[cls];
    void **in = ring->in;
    if (HAK_UNLIKELY(in == ring->stop))
        return hak_quarantine_turn_slow(obj, cls);
    void *oldest = *in;
    HAK_SHOW(*in, obj);
    HAK_SHOW(ring->in, in + 1);
    if (HAK_UNLIKELY(oldest == NULL))
        return NULL;
    if (size <= HAK_RING_DEEP)
        hak_ring_fetch(in[HAK_RING_AHEAD]);
    uint8_t next = mine->swap_next;
    mine->swap_next = (uint8_t)(next + 1);
    void **swap = mine->swaps[cls], **place = &swap[ring->drawn];
    void *out = *place;
    HAK_SHOW(*place, oldest);
    ring->drawn = mine->swap_random[next] & ring->swap_mask;
    if (size > HAK_RING_DEEP)
        hak_ring_fetch_long(swap[ring->drawn], size);
    return HAK_LIKELY(next != UINT8_MAX) ? out : hak_quarantine_draw_slow(out);
}

#endif
