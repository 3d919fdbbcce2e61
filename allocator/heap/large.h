/* large.h: objects above HAK_SLAB_SIZE_MAX. Layer 3. Each is a span of granules (span.h); freed spans stay
 * mapped and are reused best fit. Guarded by the large lock. */
#ifndef HAK_LARGE_H
#define HAK_LARGE_H

#include "allocator/heap/span.h"

extern hak_lock hak_large_lock;
/* Number of live objects; number of allocations and frees so far. */
extern _Atomic size_t hak_large_count, hak_large_operations;

void hak_large_init(void);

/* Takes an object of `size` > 0 bytes, aligned to `align`, for a partition (0: none). NULL when the OS refuses.
 * *zeroed (may be NULL): the object reads as zero. *capacity: the usable bytes. */
void *hak_large_take_typed(size_t size, size_t align, unsigned partition, bool *zeroed, size_t *capacity);
HAK_INLINE void *hak_large_take(size_t size, size_t align, bool *zeroed, size_t *capacity) {
    return hak_large_take_typed(size, align, 0, zeroed, capacity);
}

/* The capacity of the live large object at `obj` in bytes; 0 when `obj` is no live large object. */
size_t hak_large_capacity(const void *obj);
/* The same, with what realloc has cut off behind the object, and the gap. */
size_t hak_large_reach(const void *obj);

/* Frees the object. False: `obj` is no live large object, and nothing has changed. */
bool hak_large_give(void *obj);

/* Unmaps the live object's memory: any access faults, and it no longer counts as live memory. Only
 * hak_large_give may follow. False: the OS refused, and nothing has changed. */
bool hak_large_empty(void *obj);
/* The same, for a caller that holds the large lock. */
bool hak_large_empty_locked(void *obj);
/* True after hak_large_empty. */
bool hak_large_is_empty(const void *obj);

/* Resizes the live object in place to `size` bytes and stores its capacity. False: not possible. */
bool hak_large_resize(void *obj, size_t size, size_t *capacity);

/* Moves the live object's pages to a place with room for `size` bytes, more than it has. New bytes read as
 * zero. Returns the new address. NULL: a move does not pay or the OS refused; nothing has changed, and the
 * caller should copy. */
void *hak_large_move(void *obj, size_t size, size_t *capacity);

/* Purges free spans, oldest first, until at most `keep` bytes of them may be resident. Returns the bytes
 * purged. */
size_t hak_large_purge(size_t keep);

/* Unmaps all free spans, so that the kernel no longer counts them. For when it has refused memory. Returns
 * bytes. */
size_t hak_large_hollow(void);

/* Unmaps the unused tails of live objects' spans (tail.h). For when unmapping free memory does not suffice.
 * Returns bytes. */
size_t hak_large_cut_tails(void);

/* Purges spans that have been free for long. `now` is in milliseconds. */
void hak_large_release_idle(uint64_t now);

/* Dies when lists, lengths or tags disagree. Takes the lock. For tests. */
void hak_large_check(void);

#endif
