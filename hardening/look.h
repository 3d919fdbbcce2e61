/* look.h: checks a slot against its record while other threads may change it at any moment, or have stopped in
 * the middle of a change.
 *
 * A slot that is being freed or resized is held, and not checked. A slot that is being allocated has a canary
 * and otherwise zeros. These states may last for any time, so waiting does not help. A wrong byte is checked
 * twice more, with the same record before and after. It counts only if no slot of the class can have been freed
 * and allocated again meanwhile: such a slot leaves a quarantine, and every exit from a quarantine is counted
 * (hak_quarantine_turns). So no order of events makes a right slot appear wrong. Takes no lock, waits for no
 * thread, reads one slot. */
#ifndef HAK_LOOK_H
#define HAK_LOOK_H

#include "hardening/ledger.h"

/* One slot under inspection. */
typedef struct hak_view {
    const hak_record *record;
    uintptr_t start;
    size_t size;        /* bytes of the slot */
    uintptr_t from, to; /* the part to check when all of it must be zero */
    unsigned cls;
} hak_view;

/* Returns the first wrong byte, and stores the record in *word. NULL: no byte is wrong, or threads use the
 * class too busily to tell. */
const unsigned char *hak_look(const hak_view *slot, uint32_t *word);

#endif
