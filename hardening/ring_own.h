/* ring_own.h: shared by ring.c (places of rings, and ways out of them) and ring_turn.c (when they become longer and
 * shorter). */
#ifndef HAK_RING_OWN_H
#define HAK_RING_OWN_H

#include "hardening/ring.h"

enum {
    HAK_RING_STEP = 16 * HAK_KIB, /* bytes: the most that a ring grows at once, and the most in a swap */
    /* Places of a class that rests without memory, for slots whose memory cannot be given back. They lie at the end of
     * the swap, of which such a class uses two. */
    HAK_RING_STAYING = 4,
};

HAK_INLINE bool hak_ring_is_deep(unsigned cls) {
    return hak_classes[cls].size <= HAK_RING_DEEP;
}
HAK_INLINE bool hak_ring_is_long(unsigned cls) {
    return hak_classes[cls].size <= HAK_RING_LONG;
}
HAK_INLINE bool hak_ring_is_bare(unsigned cls) {
    return hak_classes[cls].size > HAK_RING_BARE;
}

/* Bytes that a resting slot counts against the budgets. Of a slot without memory, the addresses count a little: each
 * superslab keeps its records for ever. */
HAK_INLINE size_t hak_ring_cost(unsigned cls) {
    enum { ADDRESSES_PART = 32 };
    size_t size = hak_classes[cls].size;
    return hak_ring_is_bare(cls) ? hak_os_page + size / ADDRESSES_PART : size;
}

/* The most that the long rings of one thread may hold. Bytes. */
HAK_INLINE size_t hak_ring_thread_bytes(void) {
    return (size_t)hak_hardening.quarantine_kib * HAK_KIB;
}

/* Maps memory for `places` places of the ring and HAK_RING_AHEAD more. False when the OS refuses. When another mapping
 * is in the way, the ring never becomes longer again. */
bool hak_ring_map(hak_guarded *mine, unsigned cls, uint32_t places);

/* Adds `more` places to the ring's number, and counts what they may hold. */
void hak_ring_more(hak_guarded *mine, unsigned cls, uint32_t more);

/* Gives the swap of the class all its places, or one when the ring is a front. It never gets fewer. */
void hak_ring_swap_open(hak_guarded *mine, unsigned cls, bool front);

/* Removes `count` places of a ring: first empty ones, then those with the oldest slots. */
void hak_ring_shorten(hak_guarded *mine, unsigned cls, uint32_t count, hak_ring_way *way);

/* Empties the ring and the swap of the class. No more slots than its floor take the way; the others go home. */
void hak_ring_class_empty(hak_guarded *state, unsigned cls, hak_ring_way *way);

/* ring_block.c: frees of a line of the class, and lines for which stamps are kept. */
uint32_t hak_ring_line(unsigned cls);
uint32_t hak_ring_lines(unsigned cls);
/* The most frees of a block of the class at present: the more threads there are, the fewer, so that all open blocks
 * together stay small beside a floor. */
uint32_t hak_ring_block(const hak_guarded *mine, unsigned cls);
/* Ends the ring's block, and begins one of up to `count` frees where the next slot goes. Returns the number.
 * `front`: of a front, which has no lines. */
uint32_t hak_ring_open(hak_guarded *mine, unsigned cls, uint32_t count, bool front);
/* The stamp of the slot after which the state freed `later` others of the class. No block is open. */
uint32_t hak_ring_stamp(const hak_guarded *mine, unsigned cls, uint32_t later);

/* Marks the slot as no thread's, if `from` has freed it. Where another thread has freed it, too, its record stays, so
 * that the sweep at exit finds that. */
void hak_ring_disown(const hak_guarded *from, void *obj);

/* True when each slot of the class has lost its memory when it was zeroed, before it came to a ring. */
HAK_INLINE bool hak_ring_comes_bare(unsigned cls) {
    return hak_ring_is_bare(cls) && hak_hardening.zero;
}

/* True when a slot that rests without memory has lost it, or does so now. False: its pages stay, which is said once. */
bool hak_ring_lets_go(void *obj, unsigned cls);
/* Gives the pages within the slot back, if slots of the class rest without memory in common rings and it may have any.
 * False: they stay, and would be too much there. */
bool hak_ring_purge_wide(void *obj, unsigned cls);
/* The same, whatever the class. False: they stay. */
bool hak_ring_purge(void *obj, size_t size);
/* Gives the pages back on which nothing lies but slots of the ring and free slots. The calling thread has the state. */
void hak_ring_purge_around(const hak_guarded *mine, unsigned cls);

#endif
