/* tail.h: ends of live large objects' spans that are not mapped. Layer 3.
 *
 *   span    |######## object ########|.. page .. guard .. gap ..|     as it is made: whole granules
 *           |######## object ########|      (not mapped)        |     when memory has run out
 *
 * What lies behind an object's last page counts against the limits of the process as the object does. When the kernel
 * has refused memory, and nothing that is free helps, it goes: any access faults there, as it does with a guard. That
 * takes an entry of the kernel's map of the process for each object, so it is done to no more of them than a part of
 * what the process may have, and to none where it brings little. The tail comes back when the object grows; the
 * object's end takes the rest of the span with it. Everything here is called with the large lock held. */
#ifndef HAK_TAIL_H
#define HAK_TAIL_H

#include "allocator/heap/span.h"
#include "allocator/os/os.h"

/* Bytes of the live span that are mapped. */
HAK_INLINE size_t hak_tail_start(const hak_span *span) {
    return hak_span_bytes(span->granules) - span->tail * hak_os_page;
}

/* The live span is mapped up to byte `end`, or its own end: its tail has come back, if it had to. False when the OS
 * refuses, and nothing has changed. */
bool hak_tail_fill(hak_region *region, hak_span *span, size_t end);

/* The span has `pages` of its tail left: the rest is not its own any more, or the span has ended. */
void hak_tail_keep(hak_span *span, size_t pages);

/* Takes the tails of all live spans whose owners are not at work on them. Bytes. */
size_t hak_tail_cut_all(void);

void hak_tail_init(void);

#endif
