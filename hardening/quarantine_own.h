/* quarantine_own.h: shared by quarantine.c (rings, budgets) and quarantine_state.c (states of threads). */
#ifndef HAK_QUARANTINE_OWN_H
#define HAK_QUARANTINE_OWN_H

#include "hardening/quarantine.h"

enum { HAK_RING_MIN = 8 }; /* a ring of small slots has so many places, however little the thread may hold */

/* The state of each thread before its first call and after its last one. Its rings have no places. */
extern HAK_HIDDEN hak_guarded hak_guarded_nobody;

/* States of ended threads, which wait for new threads. hak_hardening_lock guards the list; one reader without the lock
 * only asks whether it is empty. */
extern HAK_HIDDEN hak_guarded *_Atomic hak_guarded_waiting;

/* Size of a state together with the places of its short rings. Bytes. */
size_t hak_guarded_bytes(void);

/* Maps memory for `places` places of the ring and HAK_RING_AHEAD more. False when the OS refuses. When another mapping
 * is in the way, the ring never becomes longer again. */
bool hak_ring_map(hak_guarded *mine, unsigned cls, uint32_t places);

/* The most that the rings of one thread may hold. Bytes. */
HAK_INLINE size_t hak_quarantine_thread_bytes(void) {
    return (size_t)hak_hardening.quarantine_kib * HAK_KIB;
}

/* True for the classes with long rings. Of such a ring only the places in use are mapped: all of them would take some
 * MiB. */
HAK_INLINE bool hak_ring_is_deep(unsigned cls) {
    return hak_classes[cls].size <= HAK_RING_DEEP;
}

#endif
