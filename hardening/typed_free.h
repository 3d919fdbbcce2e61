/* typed_free.h: the free of objects that leave the fast path. */
#ifndef HAK_TYPED_FREE_H
#define HAK_TYPED_FREE_H

#include "hardening/verify.h"

/* Continues a free that leaves the fast path: for an object of a partition, or one that hak_verify_free has to
 * check. */
hak_leaving hak_typed_free(void *obj, unsigned tag, hak_claim claim, uintptr_t caller);

#endif
