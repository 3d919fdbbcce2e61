/* quarantine_own.h: shared by quarantine.c (where slots go) and quarantine_state.c (states of threads). */
#ifndef HAK_QUARANTINE_OWN_H
#define HAK_QUARANTINE_OWN_H

#include "hardening/quarantine.h"

/* The state of each thread before its first call and after its last one. Its rings have no places. */
extern HAK_HIDDEN hak_guarded hak_guarded_nobody;

/* Number of the states that wait for a new thread and hold anything. */
extern HAK_HIDDEN _Atomic size_t hak_guarded_waiting_filled;

/* True when a ring of the state has a place. */
bool hak_guarded_is_filled(const hak_guarded *state);

/* Puts a state on the list of those that wait. Takes one off; NULL: none waits. */
void hak_guarded_waiting_add_locked(hak_guarded *state);
hak_guarded *hak_guarded_waiting_take_any(void);

/* Size of a state together with the places of its rings that are not deep. Bytes. */
size_t hak_guarded_bytes(void);

#endif
