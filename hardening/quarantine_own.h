/* quarantine_own.h: shared by quarantine.c (where slots go) and quarantine_state.c (states of threads). */
#ifndef HAK_QUARANTINE_OWN_H
#define HAK_QUARANTINE_OWN_H

#include "hardening/quarantine.h"

/* The state of each thread before its first call and after its last one. Its rings have no places. */
extern HAK_HIDDEN hak_guarded hak_guarded_nobody;

/* Number of the states that wait for a new thread and hold anything. */
extern HAK_HIDDEN _Atomic size_t hak_guarded_waiting_filled;

/* The state waits for a new thread. */
void hak_guarded_wait(hak_guarded *state);
/* Takes the waiting states that hold anything and whose threads had ended by `before`, so that no thread can take them
 * meanwhile: a list, in the order in which the threads ended. */
hak_guarded *hak_guarded_take_ended(uint64_t before);

/* Size of a state together with the places of its rings that are not deep. Bytes. */
size_t hak_guarded_bytes(void);

#endif
