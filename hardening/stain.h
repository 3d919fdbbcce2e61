/* stain.h: bytes that must be zero and are not: finding them, and saying so. Cold. */
#ifndef HAK_STAIN_H
#define HAK_STAIN_H

#include "allocator/base/base.h"

/* The first byte of [start, start + size) that is not zero; NULL when all are. Any alignment. Not quick. */
const unsigned char *hak_stain_find(const void *start, size_t size);

/* A slot that was handed out is not free, or not zero: reports it. */
void hak_stain_slot(void *obj, uintptr_t caller);

/* Reports bytes of the slot past the canary that are not zero; nothing when all are. */
void hak_stain_slack(const void *obj, size_t size, size_t room, const char *call);

#endif
