/* ring.h: how many places a thread's rings have, and what becomes of slots when a ring gets shorter.
 *
 *   slots up to   288 bytes   1,152   4,608   32 KiB   more
 *   floor             1,040     416     112       40    616   places that are the class's own
 *
 * A ring grows to its floor by what is freed of its class, whatever other classes hold; those of up to HAK_RING_LONG
 * bytes grow on, within what the thread may hold, those up to HAK_RING_DEEP bytes further. When all threads together
 * hold what they may, a ring is only the front of the class's common ring (common.h): a few places, exchanged as one
 * each time it has come round. Slots above HAK_RING_BARE bytes rest without memory, so their places are counted as
 * address space only.
 *
 * Why in order: of a ring of N places from which a random one leaves, a twentieth of all slots has left after N / 20
 * frees; of one in order none before N. The swap at its end hides the order. docs/decisions/031. */
#ifndef HAK_RING_H
#define HAK_RING_H

#include "hardening/quarantine.h"

enum {
    HAK_RING_LONG = 1152,
    HAK_RING_BARE = 32 * HAK_KIB,
    HAK_RING_PURGED = 8 * HAK_KIB, /* from this size on slots have no memory in a common ring */
};

/* Places of a class that no other class, thread or size may take; 0 when there is no quarantine. */
uint32_t hak_ring_floor(unsigned cls);

/* Bytes that the rooms of all long rings take, or of all others. */
size_t hak_ring_rooms(bool deep);

/* The rings of a new state, whose room begins behind it and at `deep`: none has a place. */
void hak_ring_begin(hak_guarded *guarded);
/* Debug builds: the same, of a state that was used; long rings have no room any more. */
void hak_ring_reset(hak_guarded *guarded);
void hak_ring_unmap_deep(hak_guarded *guarded);

/* What becomes of a slot: back to its slab, or to the end of the common ring. */
typedef void hak_ring_way(const hak_guarded *from, void *obj, unsigned cls);
hak_ring_way hak_ring_home, hak_ring_rest;

/* The state's rings and swaps are emptied, the oldest of each class first. Nobody else has the state meanwhile. */
void hak_ring_empty(hak_guarded *state, hak_ring_way *way);

/* As hak_ring_exchange, in the common ring, for a thread that has no state. */
void *hak_ring_common(void *obj, unsigned cls, bool typed);

/* In a forked child: the place of each swap that is next, anew. */
void hak_ring_draw(hak_guarded *mine);

/* What malloc_trim leaves to the calling thread. */
void hak_ring_trim(hak_guarded *mine);

/* Pages that all that rests may pin, in bytes, and what a slot of the class does at most; whether it is too much. */
extern _Atomic size_t hak_ring_pinned;
size_t hak_ring_pins(unsigned cls);
bool hak_ring_pins_too_much(void);
/* Adds what the state's rings hold without memory, and what they may pin. */
void hak_ring_count(const hak_guarded *state, size_t *bare, size_t *pinned);

/* The OS does not give pages back: what would rest without memory does not rest, but for a few of a thread's. */
extern _Atomic bool hak_ring_stays;

#endif
