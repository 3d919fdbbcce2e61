/* verify.h: what a pointer is that did not pass the quick checks, and what is to be done about it. Cold, but for
 * sampled and large objects, whose every free comes here. */
#ifndef HAK_VERIFY_H
#define HAK_VERIFY_H

#include "hardening/ledger.h"

/* What is to be recycled after a free (NULL: nothing), and its tag as hak_policy_on_free says it. */
typedef struct hak_leaving {
    void *obj;
    unsigned tag;
} hak_leaving;

/* The whole of hak_policy_on_free for what its quick checks leave: reports the error; when its mode lets the process go
 * on, or there is none, ends the object's life as far as that is possible. The object to recycle, NULL: none. */
hak_leaving hak_verify_free(void *obj, unsigned tag, hak_claim claim, uintptr_t caller);

/* Reports unless the object is live and its bytes past the end are intact. */
void hak_verify_live(const void *obj, unsigned tag, const char *call, uintptr_t caller);

/* Bytes that were asked for when `obj` was made. */
size_t hak_verify_usable(const void *obj, unsigned tag, size_t capacity);

#endif
