/* typed_free.h: where a free goes that leaves the fast path. */
#ifndef HAK_TYPED_FREE_H
#define HAK_TYPED_FREE_H

#include "hardening/verify.h"

/* The rest of a free that is not the usual one: of an object of a partition, or one that hak_verify_free has to see. */
hak_leaving hak_typed_free(void *obj, unsigned tag, hak_claim claim, uintptr_t caller);

#endif
