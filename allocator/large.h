/* large.h: objects above HAK_SLAB_SIZE_MAX: spans of granules, kept mapped when freed and reused best fit. Layer 3.
 *
 *   region  | live span | free span, dirty | live | free span, clean (purged or never used) | unused ..
 *   records  H        T   H              T   H T    H                                     T
 *
 * A span's record is that of its first granule (H); the record of its last granule (T) repeats its length, so that a
 * neighbour that is freed finds it and merges. Free spans are in lists by length (two-level segregated fit, Masmano et al.
 * 2004); those that may have resident pages also in a list by age, from which release takes the oldest. Guarded by the
 * large lock. */
#ifndef HAK_LARGE_H
#define HAK_LARGE_H

#include "allocator/list.h"
#include "allocator/region.h"

/* none: never used, or merged into the span before it. What lies between a span's first and last record is not looked at, and may be
 * stale. Only live spans have HAK_TAG_LARGE, on their first granule. */
typedef enum hak_span_state { HAK_SPAN_NONE, HAK_SPAN_FREE, HAK_SPAN_LIVE } hak_span_state;

typedef struct hak_span {
    hak_link link;     /* free: in the list of its length */
    hak_link age;      /* free and dirty: in the list by age */
    size_t capacity;   /* live: bytes the caller may use, whole pages of the OS */
    uint64_t freed_at; /* free: milliseconds */
    uint32_t granules; /* in the first and in the last record */
    uint32_t dirty;    /* free: granules that may be resident, at most `granules` */
    uint8_t kind;      /* free: hak_region_kind */
    uint8_t state;     /* hak_span_state, in the first and in the last record */
    uint8_t zeroed;    /* free: all of it reads as zero */
} hak_span;

_Static_assert(sizeof(hak_span) == HAK_CACHELINE, "one cache line per granule");

extern hak_lock hak_large_lock;
/* Live objects; objects that were made or freed, in all. */
extern _Atomic size_t hak_large_count, hak_large_operations;

void hak_large_init(void);

/* An object of `size` > 0 bytes at a multiple of `align`; NULL when the OS refuses. *zeroed (may be NULL) says whether
 * it reads as zero. *capacity: the bytes that are usable. */
void *hak_large_take(size_t size, size_t align, bool *zeroed, size_t *capacity);

/* A live object that its owner has freed, but that was kept back, goes to a new owner with its span as it is: `size` bytes, which must
 * fit. *capacity: as hak_large_take. */
void hak_large_again(void *obj, size_t size, size_t *capacity);

/* Bytes usable of the live large object at `obj`; 0 when `obj` is no live large object. */
size_t hak_large_capacity(const void *obj);

/* Ends the object's life; false when `obj` is no live large object, and nothing has changed. */
bool hak_large_give(void *obj);

/* Makes the live object's capacity at least `size`, in place; false when that cannot be. */
bool hak_large_resize(void *obj, size_t size, size_t *capacity);

/* Moves the pages of `from` to `to`, both live and of at least `size` bytes, instead of copying. False: copy. */
bool hak_large_move(void *from, void *to, size_t size);

/* Gives the pages of free spans back, oldest first, until at most `keep` bytes may be resident. Returns bytes. */
size_t hak_large_purge(size_t keep);

/* Gives back what has been free for long (release.h). Frees do so as well: this is for programs that have stopped to free large objects. */
void hak_large_release_idle(void);

/* Dies when lists, lengths or tags disagree. Takes the lock. For tests. */
void hak_large_check(void);

#endif
