/* tail.h: unmaps the unused ends (tails) of live large objects' spans. Layer 3.
 *
 *   span    |######## object ########|.. page .. guard .. gap ..|     as it is made: whole granules
 *           |######## object ########|      (not mapped)        |     when memory has run out
 *
 * The memory behind an object's last page counts against the limits of the process. When the kernel has refused
 * memory and unmapping free memory does not suffice, the tails are unmapped; an access there faults, as at a
 * guard. Each unmapped tail may cost an entry in the kernel's map of the process, so their number is limited to
 * a part of what the process may have, and short tails stay. The tail is mapped again when the object grows.
 * When the object is freed, the rest of its span is unmapped too. The large lock is held for all calls here. */
#ifndef HAK_TAIL_H
#define HAK_TAIL_H

#include "allocator/heap/span.h"
#include "allocator/os/os.h"

/* Bytes of the live span that are mapped. */
HAK_INLINE size_t hak_tail_start(const hak_span *span) {
    return hak_span_bytes(span->granules) - span->tail * hak_os_page;
}

/* Maps the live span up to byte `end`, or to its own end: its tail comes back if needed. False: the OS refused,
 * and nothing has changed. */
bool hak_tail_fill(hak_region *region, hak_span *span, size_t end);

/* Sets the unmapped tail of the span to `pages`. The rest no longer belongs to the span, or the span has ended. */
void hak_tail_keep(hak_span *span, size_t pages);

/* Unmaps the tails of all live spans on which no thread is at work. Returns bytes. */
size_t hak_tail_cut_all(void);

void hak_tail_init(void);

#endif
