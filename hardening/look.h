/* look.h: whether a slot is as its record says, while other threads may change it at any moment, or have stopped in the
 * middle.
 *
 * A slot that is being freed or resized is held and not looked at; one that is being handed out has a canary and no
 * other byte that is not zero. Neither lasts only for a time that could be waited for. What is wrong is looked at
 * twice, with the same record before and after; and it is wrong only when meanwhile no slot of the class can have gone
 * round: whatever is freed and handed out again has left a quarantine in between, and each way out is counted
 * (hak_quarantine_turns). So no order of events makes a slot wrong that is right. Takes no lock, waits for nobody,
 * reads one slot. */
#ifndef HAK_LOOK_H
#define HAK_LOOK_H

#include "hardening/ledger.h"

/* One slot under inspection. */
typedef struct hak_view {
    const hak_record *record;
    uintptr_t start;
    size_t size;        /* bytes of the slot */
    uintptr_t from, to; /* the part that is looked at when all of it must be zero */
    unsigned cls;
} hak_view;

/* The first byte that is not as the record says, and the record in *word. NULL: none, or threads are so busy with slots
 * of the class that it cannot be told. */
const unsigned char *hak_look(const hak_view *slot, uint32_t *word);

#endif
