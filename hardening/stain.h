/* stain.h: finds and reports bytes that must be zero and are not. Cold. */
#ifndef HAK_STAIN_H
#define HAK_STAIN_H

#include "allocator/base/base.h"

enum { HAK_STAIN_WIDE = 32 * HAK_KIB }; /* bytes: larger slots rest without memory */

/* The first byte of [start, start + size) that is not zero; NULL: none. Any alignment. Not fast. */
const unsigned char *hak_stain_find(const void *start, size_t size);

/* The same, without touching pages that nobody has touched since they were mapped or purged, where the OS says which
 * these are; they are zero. hak_stain_find does this above HAK_STAIN_WIDE bytes. */
const unsigned char *hak_stain_find_touched(const void *start, size_t size);

/* Reports that a slot about to be allocated is not free, or is not zero. */
void hak_stain_slot(void *obj, uintptr_t caller);

/* Reports bytes of the slot after the canary that are not zero, if there are any. */
void hak_stain_slack(const void *obj, size_t size, size_t room, const char *call);

#endif
