/* wipe.h: zeroing objects, and finding out whether they still are zero, with the widest vectors that the processor has. */
#ifndef HAK_WIPE_H
#define HAK_WIPE_H

#include "allocator/bits.h"

typedef struct hak_wipe_calls {
    void (*clear)(char *p, size_t size);
    bool (*is_clear)(const char *p, size_t size);
    /* Clears the first `used` bytes of the slot of `room` bytes, if the others are zero; else false, nothing is changed. */
    bool (*finish)(char *p, size_t used, size_t room);
} hak_wipe_calls;

/* Chosen by hak_wipe_init; valid without it. Read-only after start. */
extern HAK_HIDDEN hak_wipe_calls hak_wipe;

void hak_wipe_init(void);

/* The first byte of [start, start + size) that is not zero; NULL when all are. Any alignment. Not quick. */
const unsigned char *hak_wipe_find(const void *start, size_t size);

#endif
