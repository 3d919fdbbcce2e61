/* span_index.h: finds free spans by length. Layer 3.
 *
 * Two-level segregated fit for each kind of region: lists for lengths 1 to 7, then eight lists per doubling,
 * and a bitmap of the lists that are not empty. Guarded by the large lock. */
#ifndef HAK_SPAN_INDEX_H
#define HAK_SPAN_INDEX_H

#include "allocator/heap/span.h"

void hak_span_index_init(void);

/* From now on spans of the kind may be added and requested. False: the OS has no memory for their lists. */
bool hak_span_index_open(hak_region_kind kind);
void hak_span_index_add(hak_span *span);    /* granules and kind are set */
void hak_span_index_remove(hak_span *span); /* granules has not changed since add */

/* Finds one of the shortest free spans of at least `granules` in the regions of that kind. It stays in the
 * index. NULL: none. */
hak_span *hak_span_index_find(hak_region_kind kind, uint32_t granules);

/* The region of the span. */
hak_region *hak_span_region(const hak_span *span);

/* Dies when a span is in the wrong list, or the bitmap disagrees with the lists. */
void hak_span_index_check(void);

#endif
