/* keep.h: the quarantine of large objects.
 *
 * It has a lane for each doubling of sizes. A lane is first in, first out, and holds 640 objects, so an address comes
 * back after that many frees of objects of its doubling, whatever else the process frees. All lanes together hold 4
 * GiB of mapped address space, and 16 GiB of unmapped (under a limit 16 times the limit); beyond that the lane that
 * has most of the kind, with what comes in, gives the oldest of the kind. Two unmapped objects of each lane do not
 * count. An object counts with what realloc has cut off, which rests with it.
 *
 * No kept object has memory. An object that was not guarded or unmapped (guard.h) is purged when it comes in, and
 * unmapped where the lanes have no room for mapped ones. The hardening lock guards the lanes. */
#ifndef HAK_KEEP_H
#define HAK_KEEP_H

#include "hardening/ledger.h"

/* Kept objects, and the bytes of mapped ones as in hak_large_capacity. */
extern _Atomic size_t hak_keep_objects, hak_keep_bytes;

/* Takes an object that was verified and is marked as freed; gives older ones to hak_large_give. `capacity`: bytes that
 * were accessible. `shut`: the object is guarded or unmapped. False: the object cannot be kept, and the caller gives
 * it. */
bool hak_keep_take(void *obj, size_t capacity, bool shut);

/* Gives all objects to their regions, because memory has run out. */
void hak_keep_flush(void);

/* Unmaps the objects that its last call has seen: they take page tables, and their guards' markers take entries there,
 * which each fork copies. The caller holds no lock. */
void hak_keep_idle(void);

/* Debug builds: forgets all kept objects. */
void hak_keep_reset(void);

#endif
