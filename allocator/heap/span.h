/* span.h: spans, the runs of granules of live and freed large objects: cut, merged, aged, hollowed. Layer 3.
 *
 *   region  | live span | free, dirty | live | free, clean (purged or never used) | free, hollow (not mapped) | unused
 *   ..
 *   records  H        T   H          T   H  T H                                  T  H                       T
 *
 * A span's record is that of its first granule (H). The record of its last granule (T) repeats the length, so
 * that a freed neighbour finds the span and merges with it. Free spans are in lists by length (span_index.h).
 * Free spans that may have resident pages are also in a list by age, from which release takes the oldest. A
 * hollow span is not mapped. The large lock is held for all calls here. */
#ifndef HAK_SPAN_H
#define HAK_SPAN_H

#include "allocator/base/list.h"
#include "allocator/pages/region.h"

/* NONE: never used, or merged into the span before. LOST: other code has mapped memory there while the span was
 * hollow. The records between a span's first and last one may be stale and are not read. Only live spans have
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
    size_t capacity;   /* live: usable bytes, whole pages */
    uint64_t freed_at; /* free: milliseconds */
    uint32_t granules; /* in the first and in the last record */
    uint32_t dirty;    /* free: granules that may be resident, at most `granules` */
    uint8_t kind;      /* free: hak_region_kind */
    uint8_t state;     /* hak_span_state, in the first and in the last record */
    uint8_t zeroed;    /* free: reads as zero, or will when it is mapped again */
    uint8_t hollow;    /* none of it is mapped; hollow and mapped neighbours do not merge */
    uint8_t moved;     /* live: its pages were moved here and are a mapping of their own */
    uint16_t tail;     /* live: pages at its end that are not mapped (tail.h) */
} hak_span;

_Static_assert(sizeof(hak_span) == HAK_CACHELINE, "one cache line per granule");

HAK_INLINE size_t hak_span_bytes(size_t granules) {
    return granules << HAK_GRANULE_SHIFT;
}
HAK_INLINE uintptr_t hak_span_start(const hak_region *region, const hak_span *span) {
    return region->base + hak_span_bytes((size_t)(span - (const hak_span *)region->records));
}

/* The record after the last one in use in the region. */
HAK_INLINE hak_span *hak_span_end_of(const hak_region *region) {
    return (hak_span *)region->records + (region->used >> HAK_GRANULE_SHIFT);
}

/* Writes both records of a span. */
HAK_INLINE void hak_span_describe(hak_span *span, uint32_t granules, hak_span_state state) {
    hak_span *last = span + granules - 1;
    span->granules = last->granules = granules;
    span->state = last->state = (uint8_t)state;
}

/* Number of gaps in the kernel's map of the process: runs of hollow spans, free ones and live ones that
 * hak_large_empty has unmapped. */
extern _Atomic size_t hak_span_holes;

/* Note that granules between two spans were unmapped, or are mapped again. Their own records are not read. */
void hak_span_hollowed(hak_region *region, hak_span *span, uint32_t granules);
void hak_span_filled(hak_region *region, hak_span *span, uint32_t granules);

void hak_span_init(void);

/* Takes a mapped span of `need` granules, aligned to `align`; its state is not set yet. Stores its region. NULL
 * when the OS refuses. */
hak_span *hak_span_take(hak_region_kind kind, uint32_t need, size_t align, hak_region **region);

/* The same, aligned to a granule and not mapped: a place for pages that will be moved there. */
hak_span *hak_span_take_hollow(hak_region_kind kind, uint32_t need, hak_region **region);

/* The contents of a freed run of granules. */
typedef struct hak_span_content {
    uint32_t dirty; /* granules that may be resident */
    bool zeroed, hollow;
} hak_span_content;

/* Frees a run of granules: merges it with free neighbours and lists the result. */
void hak_span_give(hak_region *region, hak_span *span, uint32_t granules, hak_span_content content);

/* Extends the live span in place by `more` granules. False: no room behind it. */
bool hak_span_extend(hak_region *region, hak_span *span, uint32_t more);

/* Purges free spans, oldest first, until at most `keep` bytes of them may be resident. Only takes spans freed
 * before `before` (milliseconds). With `whole`, purges whole spans; without it, only as much as needed. Returns
 * bytes. */
size_t hak_span_purge(size_t keep, uint64_t before, bool whole);

/* Purges the spans that the release policy calls idle at `now` (milliseconds). */
void hak_span_release_idle(uint64_t now);

/* Unmaps all free spans, which become hollow. Returns the bytes that the kernel no longer counts. */
size_t hak_span_hollow_all(void);

/* Dies when the spans of a region disagree. Returns its part of hak_span_holes. For tests. */
size_t hak_span_check(hak_region *region);

#endif
