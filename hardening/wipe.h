/* wipe.h: zeroing objects, and finding out whether they still are zero, with the widest vectors that the processor has. */
#ifndef HAK_WIPE_H
#define HAK_WIPE_H

#include "allocator/bits.h"

typedef struct hak_wipe_calls {
    void (*clear)(char *p, size_t size);
    bool (*is_clear)(const char *p, size_t size);
} hak_wipe_calls;

/* Chosen by hak_wipe_init; valid without it. Read-only after start. */
extern HAK_HIDDEN hak_wipe_calls hak_wipe;

void hak_wipe_init(void);

/* `obj` is a multiple of 16; sizes are rounded up to 16: slots are multiples of 16. */
HAK_INLINE void hak_wipe_clear(void *obj, size_t size) {
    hak_wipe.clear(obj, hak_align_up(size, HAK_MIN_ALIGN));
}

/* True when the bytes of a slot from `used` to its end at `room` are zero; few, but for aligned objects. The slot is
 * a multiple of 16, so that up to 15 bytes are the upper part of its last 16. */
HAK_INLINE bool hak_slack_clear(const void *obj, size_t used, size_t room) {
    typedef uint64_t word __attribute__((aligned(1), may_alias));
    const char *end = (const char *)obj + room;
    size_t slack = room - used;
    if (slack == 0)
        return true;
    if (slack <= 8)
        return *(const word *)(end - 8) >> (64 - 8 * slack) == 0;
    if (slack < HAK_MIN_ALIGN)
        return (*(const word *)(end - 8) | *(const word *)(end - slack)) == 0;
    /* from `used` on unaligned: the tiers take any start */
    size_t whole = slack & ~(size_t)(HAK_MIN_ALIGN - 1);
    return hak_wipe.is_clear(end - whole, whole) &&
           (*(const word *)(end - slack) | *(const word *)(end - slack + 8)) == 0;
}

/* The first byte of [start, start + size) that is not zero; NULL when all are. Any alignment. Not quick. */
const unsigned char *hak_wipe_find(const void *start, size_t size);

#endif
