/* verify_large.h: the ends of large objects, whose life the ledger records, and what is no live object's start. */
#ifndef HAK_VERIFY_LARGE_H
#define HAK_VERIFY_LARGE_H

#include "hardening/matter.h"

/* Large objects: becomes live; is to be resized (false: it is not live), or could not be; was resized: false when the
 * OS refuses its memory, nothing has changed then; is freed: true when it is to be given to hak_large_give now. */
bool hak_verify_large_alloc(void *obj, size_t size, size_t capacity, hak_origin origin);
bool hak_verify_large_hold(void *obj);
void hak_verify_large_unhold(void *obj);
bool hak_verify_large_resize(void *obj, size_t size, size_t capacity);
bool hak_verify_large_free(void *obj);

/* Bytes from its start that are the live object's, or looked at; 0: somebody is at work on it. With hak_large_lock, and
 * while hak_verify_large_settles is set. */
size_t hak_verify_large_end(const void *obj, size_t capacity);
extern HAK_HIDDEN _Atomic bool hak_verify_large_settles;

/* The first byte past the end of a large object that is not as it was; NULL: all are. */
const unsigned char *hak_verify_large_overflow(const void *obj, const hak_large_record *record);

/* Set while a sweep looks at large objects: with hak_large_lock, at those whose record says live then. */
extern HAK_HIDDEN _Atomic bool hak_verify_large_sweep;

/* The record of the large object that starts at the matter's address, which is freed then when `end_it`; NULL, after
 * the report, when none starts there that is live. */
hak_large_record *hak_verify_large_live(hak_matter *m, hak_claim claim, bool end_it);

/* Nothing that is live begins there: reports it. Outside of all regions, or inside a large object, or of its gap. */
void hak_verify_stray(const hak_matter *m);

#endif
