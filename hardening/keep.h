/* keep.h: the quarantine of large objects.
 *
 * It is first in, first out. It holds 640 objects and 1 GiB of mapped address space. Other objects are unmapped
 * (guard.h): most from 1 MiB on, and smaller ones after a while, so that a fork has no markers of guards to copy. They
 * may have 16 GiB of address space. Unguarded objects may stay resident, up to 64 MiB (8 with a lean policy). Beyond
 * that an object is purged when it comes in, and drives no other out.
 *
 * A program that frees large objects faster than they can be guarded gets them back from here, except the newest.
 * That saves two to three system calls per object. The hardening lock guards the quarantine. */
#ifndef HAK_KEEP_H
#define HAK_KEEP_H

#include "hardening/ledger.h"

/* Kept objects, the bytes of mapped ones as in hak_large_capacity, and the bytes that may be resident. */
extern _Atomic size_t hak_keep_objects, hak_keep_bytes, hak_keep_resident;

/* Takes an object that was verified and is marked as freed; gives older ones to hak_large_give. False: the object
 * cannot be kept, and the caller gives it. `guarded`: none of it is resident. */
bool hak_keep_take(void *obj, size_t capacity, bool guarded);

/* While there is no time for guards: hands an accessible object without a partition to a new owner, with its span
 * and its guard unchanged. `size` bytes at a multiple of `align`; *capacity as in hak_large_take. NULL: no object
 * fits. */
void *hak_keep_again(size_t size, size_t align, size_t *capacity);

/* Gives all objects to their regions, because memory has run out. */
void hak_keep_flush(void);

/* Purge kept objects, which stay in the quarantine: hak_keep_trim purges all, hak_keep_idle those that its last call
 * has seen. hak_keep_idle also unmaps guarded ones of these. The caller holds no lock. */
void hak_keep_trim(void);
void hak_keep_idle(void);

/* Debug builds: forgets all kept objects. */
void hak_keep_reset(void);

#endif
