/* verify.h: finds out what a pointer is that did not pass the quick checks, and reports it. Cold, except for
 * sampled and large objects, whose every free comes here. */
#ifndef HAK_VERIFY_H
#define HAK_VERIFY_H

#include "hardening/ledger.h"

/* The object to recycle after a free (NULL: none), and its tag as in hak_policy_on_free. */
typedef struct hak_leaving {
    void *obj;
    unsigned tag;
} hak_leaving;

/* The rest of hak_policy_on_free, for what its quick checks leave. Reports an error, if there is one. If the
 * process goes on, frees the object as far as possible. Returns the object to recycle. */
hak_leaving hak_verify_free(void *obj, unsigned tag, hak_claim claim, uintptr_t caller);

/* Reports an error unless the object is live and the bytes past its end are intact. */
void hak_verify_live(const void *obj, unsigned tag, const char *call, uintptr_t caller);

/* The requested size of `obj` in bytes. */
size_t hak_verify_usable(const void *obj, unsigned tag, size_t capacity);

#endif
