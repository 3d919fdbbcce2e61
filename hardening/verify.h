/* verify.h: what a pointer is that did not pass the quick checks, and what is to be done about it. Cold, but for
 * sampled and large objects, whose every free comes here. */
#ifndef HAK_VERIFY_H
#define HAK_VERIFY_H

#include "allocator/os/os_process.h"
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

/* A slot that was handed out is not free, or not zero. */
void hak_verify_reuse(void *obj, uintptr_t caller);

/* Bytes of the slot past the canary are not zero. */
void hak_verify_slack(const void *obj, size_t size, size_t room, const char *call);

/* Large objects: becomes live, was resized: false when the OS refuses its memory, nothing has changed then; is freed:
 * true when it is to be given to hak_large_give now. */
bool hak_verify_large_alloc(void *obj, size_t size, size_t capacity, hak_origin origin);
bool hak_verify_large_resize(void *obj, size_t size, size_t capacity);
bool hak_verify_large_free(void *obj);

/* The first byte past the end of a large object that is not as it was; NULL: all are. */
const unsigned char *hak_verify_large_overflow(const void *obj, const hak_large_record *record);

/* Set while a sweep looks at large objects: with hak_large_lock, at those whose record says live then. */
extern HAK_HIDDEN _Atomic bool hak_verify_large_sweep;

/* A fault of the processor: reports it when the address is ours. */
hak_fault_verdict hak_verify_fault(const hak_fault *fault);

#endif
