/* keep.h: freed large objects are kept back for a while: the quarantine of large objects.
 *
 * First in, first out, bounded in number and in bytes of address space, and more tightly in bytes that may be resident
 * because there was no guard for them (guard.h). Guarded by the hardening lock. */
#ifndef HAK_KEEP_H
#define HAK_KEEP_H

#include "hardening/ledger.h"

/* Takes the object, which was judged and is marked as freed; gives older ones to hak_large_give. False: it is too
 * large to be kept, the caller gives it. `guarded`: none of it is resident. */
bool hak_keep_take(void *obj, size_t capacity, bool guarded);

/* Debug builds: nothing is kept. */
void hak_keep_reset(void);

#endif
