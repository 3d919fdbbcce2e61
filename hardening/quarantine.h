/* quarantine.h: freed slots wait before they are handed out again; and what else a thread of the hardened variant owns.
 *
 *   free(obj) --> ring: first in, first out --> one of the swap's places, drawn at random --> bin --> malloc
 *
 * Per thread and class, pointers only; how long a ring is: ring.h. The state of a thread that ends keeps its contents
 * for a second and waits for a new thread; then they go on, in order, to the rings that all threads share (common.h).
 * What a thread frees that has no state goes there at once. */
#ifndef HAK_QUARANTINE_H
#define HAK_QUARANTINE_H

#include "hardening/ledger.h"
#include "hardening/random.h"

enum {
    HAK_SWAP_PLACES = 16,
    HAK_DRAW_BITS = 21,
    HAK_SITES = 1024, /* per thread, by a hash of the return address */
    /* A ring that does not fit into the second-level cache has its slots and records fetched so many places ahead. */
    HAK_RING_AHEAD = 24,
    HAK_RING_DEEP = 96,      /* the largest slots with such rings, bytes */
    HAK_RING_FETCHED = 1024, /* bytes that are fetched of what leaves others next */
};

/* What free needs of a class's quarantine. Sweeps and who counts glance at `in`, `limit` and the slots. */
typedef struct hak_ring {
    void **in;   /* where the next object goes, and the oldest is */
    void **stop; /* the end of the places in use; equal to `in`: the ring has come round, or has not begun */
    uint16_t swap_mask; /* places of the swap in use, less one */
    uint16_t drawn;     /* the place from which the next one leaves */
    uint32_t limit;     /* how many places are in use */
    void **slots; /* room for `most` of them and HAK_RING_AHEAD that stay NULL, as far as it is mapped */
} hak_ring;

/* What the hardened variant keeps per thread. */
typedef struct hak_guarded {
    uint32_t owner; /* number of this state in records; 0: the state of threads without one */
    uint8_t swap_next;
    bool shuffle_due;      /* in a forked child: the swaps, as soon as no exchange is under way */
    _Atomic uint32_t uses; /* odd while a thread has it: each beginning and each end counts */
    hak_ring rings[HAK_TAGS];
    void *swaps[HAK_TAGS][HAK_SWAP_PLACES];
    uint8_t swap_random[256];          /* consumed one by one */
    _Atomic uint32_t sites[HAK_SITES]; /* allocations of each call site until one is sampled; 1 at first */
    _Atomic uint8_t sites_seen[HAK_SITES]; /* how often a site was due, up to 255 */
    void **seen[HAK_TAGS];                 /* rings' `in` when they were last looked at, */
    uint64_t seen_turns[HAK_TAGS];         /* their turns then, */
    uint64_t used_at[HAK_TAGS];            /* and when either had changed, milliseconds */
    bool bared[HAK_TAGS];                  /* the pages around what rests went back since */
    uint32_t most[HAK_TAGS];               /* places that a ring may have */
    _Atomic uint64_t turns[HAK_TAGS];      /* see hak_quarantine_turns */
    uint32_t mapped[HAK_TAGS];             /* places of its room that are mapped */
    hak_extent deep;                       /* the rooms of the long rings; start 0: it has none */
    hak_rng rng;
    uint64_t draws; /* random bits for places in slabs */
    unsigned draws_left;
    size_t held, swapped;      /* bytes that the rings may hold as they are now, and their swaps */
    uint64_t ended_at;         /* of a state that waits, milliseconds */
    uintptr_t sweep_at;        /* address where the running sweep goes on */
    _Atomic bool sweeps;       /* a step is being made */
    unsigned sweep_turn;       /* steps of it */
    unsigned sweep_sample;     /* and where it goes on among sampled objects */
    bool typed;                /* for what has a partition: its contents never go to who has none */
    struct hak_guarded *other; /* the same thread's state for the other kind; NULL: it has none */
    struct hak_guarded *next;  /* all of them, in order of birth; never removed */
    struct hak_guarded *next_waiting;
} hak_guarded;

/* The calling thread's. */
extern HAK_HIDDEN _Thread_local hak_guarded *hak_guarded_mine;

/* All states that ever were, for sweeps; pairs: release in quarantine.c, acquire in readers. */
extern hak_guarded *_Atomic hak_guarded_all;

/* How often slots of the class may have begun to leave a quarantine, or were resized in their place, in all threads.
 * Between two answers that are the same no slot that was freed meanwhile was handed out again. An answer reads a line
 * per state. */
uint64_t hak_quarantine_turns(unsigned cls);

/* One such event of the calling thread's, before what it leads to is published. */
void hak_quarantine_turned(hak_guarded *mine, unsigned cls);

/* States that threads have. */
extern _Atomic size_t hak_quarantine_states;

/* Bytes held by all threads' own rings and swaps, of slots that have memory. */
extern _Atomic size_t hak_quarantine_held;

/* Debug builds: what takes objects home instead of hak_hardening.give; NULL: nothing does. */
extern HAK_HIDDEN void (*hak_quarantine_home)(void *obj, unsigned cls);
void hak_quarantine_give_home(void *obj, unsigned cls);

/* `typed`: for what has a partition (typed.h); else for what has none. */
void hak_quarantine_begin(bool typed);
void hak_quarantine_end(void);
void hak_quarantine_forsake(void); /* the thread has none any more, and what was its own is lost */
/* What ended threads held goes to the common rings at once, because all rings hold what they may. */
void hak_quarantine_rest_ended(void);
/* Gives home what the calling thread's rings and those of threads that have ended hold, because memory has run out. */
void hak_quarantine_flush(void);
/* malloc_trim: what ended threads held goes home, and most of what the calling thread holds. */
void hak_quarantine_trim(void);
/* What threads held that ended a while ago goes to the common rings. `now`: milliseconds. */
void hak_quarantine_idle(uint64_t now);
/* See hak_policy_cache_age. */
void hak_quarantine_age(bool sparse);
void hak_quarantine_fork_child(void);
void hak_quarantine_reset(void); /* debug builds: nothing is in quarantine; see hak_policy_reset */

/* The ring has come round, or there is none: makes it longer, or begins it again. As hak_ring_exchange. ring.c */
void *hak_quarantine_turn_slow(void *obj, unsigned cls);
/* The thread's first call was the free of this slot, and its state has begun since: as hak_ring_exchange. Cold. */
void *hak_quarantine_first(void *obj, unsigned cls);
void *hak_quarantine_draw_slow(
    void *out); /* more random numbers for the swaps; returns out, so that it can be jumped to */

/* The calling thread's random numbers, or those of all threads without a state. */
uint64_t hak_random_next(void);

/* One of `count` slots, at most 4,096; biased by less than 1 in 500. Three are drawn at once. */
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

/* Has the lines on the way that will be touched when the slot is handed out. Small slots: two lines are all of it. */
HAK_INLINE void hak_ring_fetch(const char *obj) {
    const hak_granule *granule = hak_granule_near((uintptr_t)obj);
    hak_place place;
    if (granule == NULL)
        return; /* an empty place */
    __builtin_prefetch(obj, 1);
    __builtin_prefetch(obj + HAK_CACHELINE, 1);
    hak_granule_slot(granule, obj, &place);
    __builtin_prefetch((const void *)place.record, 1);
}

/* Slots that are longer: what leaves next, which was drawn already; not the record, which lies beside others of its
 * slab. NULL does no harm. */
HAK_INLINE void hak_ring_fetch_long(const char *obj, size_t size) {
    for (size_t at = 0; at < size && at < HAK_RING_FETCHED; at += HAK_CACHELINE)
        __builtin_prefetch(obj + at, 1);
}

/* Puts the object in and takes another slot of the class out; NULL when none is due. `size`: bytes of a slot of the
 * class. */
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
