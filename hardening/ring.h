/* ring.h: how many places a thread's rings have, and where slots go when a ring gets shorter.
 *
 *   slots up to   288 bytes   1,152   4,608   32 KiB   more
 *   floor             1,040     416     112       40    616   places that belong to the class alone
 *
 * A ring grows to its floor by what is freed of its class, whatever other classes hold. Rings of slots of up to
 * HAK_RING_LONG bytes grow on, within what the thread may hold; those of up to HAK_RING_DEEP bytes furthest. When all
 * threads together hold what they may, a ring is only the front of the class's common ring (common.h): it has a few
 * places, which are exchanged together each time it has come round. Slots above HAK_RING_BARE bytes rest without
 * memory.
 *
 * Why in order: when a random one of N places leaves, a twentieth of all slots has left after N / 20 frees; when the
 * oldest leaves, none has before N. The swap behind the ring hides the order. See docs/decisions/031. */
#ifndef HAK_RING_H
#define HAK_RING_H

#include "hardening/quarantine.h"

enum {
    HAK_RING_LONG = 1152, /* bytes: the largest slots whose rings may grow above their floor */
    HAK_RING_BARE =
        32 * HAK_KIB, /* bytes: the largest slots that rest with their memory in a thread's ring */
    HAK_RING_PURGED = 8 * HAK_KIB, /* bytes: the smallest slots that rest without memory in a common ring */
};

/* Number of places of a class that no other class, thread or size may take; 0 when there is no quarantine. */
uint32_t hak_ring_floor(unsigned cls);

/* Address space of the rings whose places lie apart from the state, or of the others. Bytes. */
size_t hak_ring_rooms(bool apart);

/* Begins the rings of a new state: none has a place. Their room lies behind the state and at `apart`. */
void hak_ring_begin(hak_guarded *guarded);
/* Whenever a thread gets a state: what says how long its blocks and lines are. */
void hak_ring_begin_lines(hak_guarded *guarded);
/* Debug builds: as hak_ring_begin for a state that was used; what lies apart has no memory any more. */
void hak_ring_reset(hak_guarded *guarded);
void hak_ring_unmap_apart(hak_guarded *guarded);
/* Calls `each` for every mapping of the rings that lies apart from the state. */
void hak_ring_each_apart(const hak_guarded *guarded, void (*each)(uintptr_t start, size_t size));

/* Takes a slot that leaves a ring: back to its slab, or to the end of the common ring. */
typedef void hak_ring_way(hak_guarded *from, void *obj, unsigned cls);
hak_ring_way hak_ring_home, hak_ring_rest;

/* Empties the rings and swaps of the state, the oldest slots of each class first. No other thread has the state. */
void hak_ring_empty(hak_guarded *state, hak_ring_way *way);

/* Ends the block of the ring: the thread ends, say. */
void hak_ring_close(hak_guarded *mine, unsigned cls);

/* As hak_ring_exchange, with the common ring: for a slot that was just freed. */
void *hak_ring_common(void *obj, unsigned cls, bool typed);

/* In a forked child: draws the next place of each swap again. */
void hak_ring_draw(hak_guarded *mine);

/* Sends home what malloc_trim does not leave to the calling thread. */
void hak_ring_trim(hak_guarded *mine);

/* The most bytes of pages that one resting slot of the class keeps resident, with or without memory of its own. */
size_t hak_ring_pins(unsigned cls, bool bare);
/* Bytes of pages that the slots in threads' rings may keep resident. */
extern _Atomic size_t hak_ring_pinned;
/* Adds the bytes of slots without memory in the state's rings, and of the pages that its rings may keep resident. */
void hak_ring_count(const hak_guarded *state, size_t *bare, size_t *pinned);

/* The slot of this thread that was zeroed last though its pages should have gone: the OS did not take them back,
 * because they are locked, say. NULL: none. */
extern HAK_HIDDEN _Thread_local const void *hak_ring_stayed;
/* Gives the whole pages of the range back. False: the OS refuses. */
bool hak_ring_purge_pages(uintptr_t start, size_t size);

#endif
