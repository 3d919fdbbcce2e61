/* trace_format.h: a recorded allocation trace, and how its bytes are written and read. Nothing here allocates.
 *
 * A file is TRACE_MAGIC, then events, until a TRACE_END byte or the end of the file. An event is one byte, the kind,
 * then numbers of 7 bits a byte, lowest first, the top bit set on all but the last:
 *
 *   TRACE_MALLOC  size            TRACE_CALLOC  size (count * size)     TRACE_FREE    slot
 *   TRACE_ALIGNED log2, size      TRACE_REALLOC slot, size              TRACE_THREAD  who makes the calls from here on
 *
 * Slots name live objects. A new object takes the slot that was freed last, or the next unused one; both sides follow
 * this rule, so an allocation needs no slot in the file, and slot numbers stay as small as the number of live objects.
 */
#ifndef HAK_BENCH_TRACE_FORMAT_H
#define HAK_BENCH_TRACE_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#define TRACE_MAGIC "HAKTRC1\n"
enum { TRACE_MAGIC_BYTES = 8, TRACE_EVENT_BYTES_MAX = 1 + 2 * 10, TRACE_SLOTS_MAX = 1 << 26 };

typedef enum trace_kind {
    TRACE_END,
    TRACE_MALLOC,
    TRACE_CALLOC,
    TRACE_REALLOC,
    TRACE_ALIGNED,
    TRACE_FREE,
    TRACE_THREAD,
    TRACE_KINDS
} trace_kind;

typedef struct trace_event {
    trace_kind kind;
    uint64_t slot; /* of realloc and free; a thread's number; the log2 of an alignment */
    uint64_t size; /* requested bytes */
} trace_event;

/* How many numbers follow the kind. */
static inline int trace_numbers(trace_kind kind) {
    return kind == TRACE_REALLOC || kind == TRACE_ALIGNED ? 2 : kind == TRACE_END ? 0 : 1;
}

static inline int trace_has_slot(trace_kind kind) {
    return kind >= TRACE_REALLOC;
}

static inline uint8_t *trace_put_number(uint8_t *at, uint64_t number) {
    for (; number > 127; number >>= 7)
        *at++ = (uint8_t)(number | 128);
    *at++ = (uint8_t)number;
    return at;
}

/* Needs TRACE_EVENT_BYTES_MAX at `at`; returns where the next event goes. */
static inline uint8_t *trace_put(uint8_t *at, const trace_event *event) {
    *at++ = (uint8_t)event->kind;
    if (trace_has_slot(event->kind))
        at = trace_put_number(at, event->slot);
    if (trace_numbers(event->kind) > trace_has_slot(event->kind))
        at = trace_put_number(at, event->size);
    return at;
}

/* NULL when the number is cut off or too long. */
static inline const uint8_t *trace_get_number(const uint8_t *at, const uint8_t *end, uint64_t *number) {
    *number = 0;
    for (unsigned shift = 0; at < end && shift < 64; shift += 7) {
        *number |= (uint64_t)(*at & 127) << shift;
        if (*at++ < 128)
            return at;
    }
    return NULL;
}

/* Reads the event at `at`. Returns the place of the next one, or NULL at the end or at a broken event: then the kind
 * is TRACE_END at a proper end, and TRACE_KINDS at a broken event. */
static inline const uint8_t *trace_get(const uint8_t *at, const uint8_t *end, trace_event *event) {
    event->kind = at < end && *at < TRACE_KINDS ? (trace_kind)*at : at < end ? TRACE_KINDS : TRACE_END;
    if (event->kind == TRACE_END || event->kind == TRACE_KINDS)
        return NULL;
    at++;
    if (trace_has_slot(event->kind))
        at = trace_get_number(at, end, &event->slot);
    if (at && trace_numbers(event->kind) > trace_has_slot(event->kind))
        at = trace_get_number(at, end, &event->size);
    if (!at)
        event->kind = TRACE_KINDS;
    return at;
}

/* The rule of slots. `freed` has room for the largest number of live objects. */
typedef struct trace_slots {
    uint32_t *freed;
    uint32_t freed_count;
    uint32_t used; /* slots that were ever taken */
} trace_slots;

static inline uint32_t trace_slot_take(trace_slots *slots) {
    return slots->freed_count ? slots->freed[--slots->freed_count] : slots->used++;
}

static inline void trace_slot_give(trace_slots *slots, uint32_t slot) {
    slots->freed[slots->freed_count++] = slot;
}

#endif /* HAK_BENCH_TRACE_FORMAT_H */
