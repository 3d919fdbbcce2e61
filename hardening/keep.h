/* keep.h: the quarantine of large objects.
 *
 * First in, first out: 640 of them, and 1 GiB of address space that is mapped, which very large ones are not (guard.h):
 * 16 GiB of those. What had no guard may stay resident, up to 64 MiB (8 with a lean policy); beyond that it rests
 * without memory, and drives nothing else out.
 * A program that makes and frees large objects faster than they can be guarded gets them back from here, all but the
 * newest: two to three system calls fewer per object. Guarded by the hardening lock. */
#ifndef HAK_KEEP_H
#define HAK_KEEP_H

#include "hardening/ledger.h"

/* Objects that are kept, their bytes as hak_large_capacity has them, and bytes that may be resident. */
extern _Atomic size_t hak_keep_objects, hak_keep_bytes, hak_keep_resident;

/* Takes the object, which was verified and is marked as freed; gives older ones to hak_large_give. False: it cannot
 * be kept, the caller gives it. `guarded`: none of it is resident. */
bool hak_keep_take(void *obj, size_t capacity, bool guarded);

/* While there is no time for guards: an object without a partition that is still accessible goes to a new owner with
 * its span and its guard as they are. `size` bytes at a multiple of `align`; *capacity as hak_large_take. NULL: none
 * will do. */
void *hak_keep_again(size_t size, size_t align, size_t *capacity);

/* Gives all of them to their regions, because memory has run out. */
void hak_keep_flush(void);

/* They stay, but nothing of them stays resident: of any of them, or only of those that were there at the last call of
 * the second. */
void hak_keep_trim(void);
void hak_keep_idle(void);

/* Debug builds: nothing is kept. */
void hak_keep_reset(void);

#endif
