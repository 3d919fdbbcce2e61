/* large.h: objects above HAK_SLAB_SIZE_MAX: spans of granules, kept mapped when freed and reused best fit. Layer 3.
 * The spans themselves are span.h's; here objects are made of them. Guarded by the large lock. */
#ifndef HAK_LARGE_H
#define HAK_LARGE_H

#include "allocator/heap/span.h"

extern hak_lock hak_large_lock;
/* Live objects; objects that were made or freed, in all. */
extern _Atomic size_t hak_large_count, hak_large_operations;

void hak_large_init(void);

/* An object of `size` > 0 bytes at a multiple of `align`, of a partition (0: of none); NULL when the OS refuses.
 * *zeroed (may be NULL) says whether it reads as zero. *capacity: the bytes that are usable. */
void *hak_large_take_typed(size_t size, size_t align, unsigned partition, bool *zeroed, size_t *capacity);
HAK_INLINE void *hak_large_take(size_t size, size_t align, bool *zeroed, size_t *capacity) {
    return hak_large_take_typed(size, align, 0, zeroed, capacity);
}

/* A live object that its owner has freed, but that was kept back, goes to a new owner with its span as it is: `size`
 * bytes, which must fit. *capacity: as hak_large_take. */
void hak_large_again(void *obj, size_t size, size_t *capacity);

/* Bytes usable of the live large object at `obj`; 0 when `obj` is no live large object. */
size_t hak_large_capacity(const void *obj);

/* Ends the object's life; false when `obj` is no live large object, and nothing has changed. */
bool hak_large_give(void *obj);

/* Takes the live object's memory away: any access faults until hak_large_give, which is all that may follow. False when
 * the OS refuses, and nothing has changed. */
bool hak_large_empty(void *obj);

/* Makes the live object's capacity at least `size`, in place; false when that cannot be. */
bool hak_large_resize(void *obj, size_t size, size_t *capacity);

/* Moves the live object's pages to where `size` bytes, more than it has, find room; what is new reads as zero. Returns
 * the object's new address; NULL when that does not pay or the OS refuses, and nothing has changed: then copy. */
void *hak_large_move(void *obj, size_t size, size_t *capacity);

/* Gives the pages of free spans back, oldest first, until at most `keep` bytes may be resident. Returns bytes. */
size_t hak_large_purge(size_t keep);

/* Gives free spans back, address space and all that the kernel counts included, for when it has refused something.
 * Returns bytes. */
size_t hak_large_hollow(void);

/* Gives back what lies behind live objects, and is not theirs, for when nothing that is free helps: tail.h. Bytes. */
size_t hak_large_cut_tails(void);

/* Gives back what has been free for long, by the clock: `now` milliseconds. */
void hak_large_release_idle(uint64_t now);

/* Dies when lists, lengths or tags disagree. Takes the lock. For tests. */
void hak_large_check(void);

#endif
