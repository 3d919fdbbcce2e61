/* span.h: runs of granules that large objects have, or had: cut, merged, aged, hollowed. Layer 3.
 *
 *   region  | live span | free, dirty | live | free, clean (purged or never used) | free, hollow (not mapped) | unused
 *   ..
 *   records  H        T   H          T   H  T H                                  T  H                       T
 *
 * A span's record is that of its first granule (H); the record of its last granule (T) repeats its length, so that a
 * neighbour that is freed finds it and merges. Free spans are in lists by length (span_index.h); those that may have
 * resident pages also in a list by age, from which release takes the oldest. Everything here is called with the
 * large lock held. */
#ifndef HAK_SPAN_H
#define HAK_SPAN_H

#include "allocator/base/list.h"
#include "allocator/pages/region.h"

/* none: never used, or merged into the span before it. lost: somebody else has mapped there while it was hollow.
 * What lies between a span's first and last record is not looked at, and may be stale. Only live spans have
 * HAK_TAG_LARGE, on their first granule. */
typedef enum hak_span_state {
    HAK_SPAN_NONE,
    HAK_SPAN_FREE,
    HAK_SPAN_LIVE,
    HAK_SPAN_LOST,
} hak_span_state;

typedef struct hak_span {
    hak_link link;     /* free: in the list of its length */
    hak_link age;      /* free and dirty: in the list by age */
    size_t capacity;   /* live: bytes the caller may use, whole pages of the OS */
    uint64_t freed_at; /* free: milliseconds */
    uint32_t granules; /* in the first and in the last record */
    uint32_t dirty;    /* free: granules that may be resident, at most `granules` */
    uint8_t kind;      /* free: hak_region_kind */
    uint8_t state;     /* hak_span_state, in the first and in the last record */
    uint8_t zeroed;    /* free: all of it reads as zero, or will when it is filled */
    uint8_t hollow;    /* none of it is mapped; free neighbours that are and that are not do not merge */
    uint8_t moved;     /* live: its pages were moved here, and are a mapping of their own */
    uint16_t tail;     /* live: OS pages at its end that are not mapped: tail.h */
} hak_span;

_Static_assert(sizeof(hak_span) == HAK_CACHELINE, "one cache line per granule");

HAK_INLINE size_t hak_span_bytes(size_t granules) {
    return granules << HAK_GRANULE_SHIFT;
}
HAK_INLINE uintptr_t hak_span_start(const hak_region *region, const hak_span *span) {
    return region->base + hak_span_bytes((size_t)(span - (const hak_span *)region->records));
}

/* The record behind the last one of what the region has in use. */
HAK_INLINE hak_span *hak_span_end_of(const hak_region *region) {
    return (hak_span *)region->records + (region->used >> HAK_GRANULE_SHIFT);
}

/* Writes both records of a span. */
HAK_INLINE void hak_span_describe(hak_span *span, uint32_t granules, hak_span_state state) {
    hak_span *last = span + granules - 1;
    span->granules = last->granules = granules;
    span->state = last->state = (uint8_t)state;
}

void hak_span_init(void);

/* A span of `need` granules at a multiple of `align`, mapped, of no state yet, and its region; NULL when the OS
 * refuses. */
hak_span *hak_span_take(hak_region_kind kind, uint32_t need, size_t align, hak_region **region);

/* The same, at least on a granule, but not mapped: for pages that will be moved there. */
hak_span *hak_span_take_hollow(hak_region_kind kind, uint32_t need, hak_region **region);

/* What becomes of a run of granules that is freed. */
typedef struct hak_span_content {
    uint32_t dirty; /* granules that may be resident */
    bool zeroed, hollow;
} hak_span_content;

/* Frees a run of granules: merges it with free neighbours and lists the result. */
void hak_span_give(hak_region *region, hak_span *span, uint32_t granules, hak_span_content content);

/* Makes the live span `more` granules longer, where it is; false when there is no room behind it. */
bool hak_span_extend(hak_region *region, hak_span *span, uint32_t more);

/* Gives pages back, oldest first, until at most `keep` bytes may be resident, and only of spans freed before
 * `before` (milliseconds); of each span all or, where `whole` is not set, as much as is needed. Bytes. */
size_t hak_span_purge(size_t keep, uint64_t before, bool whole);

/* It is `now`, milliseconds: what the release policy says is idle goes. */
void hak_span_release_idle(uint64_t now);

/* Makes all free spans hollow. Bytes that the kernel does not count any more. */
size_t hak_span_hollow_all(void);

/* Dies when the spans of a region disagree. For tests. */
void hak_span_check(hak_region *region);

#endif
