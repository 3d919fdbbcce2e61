/* verify_large.h: checks large objects, whose states are in the ledger, and addresses that are not the start of
 * a live object. */
#ifndef HAK_VERIFY_LARGE_H
#define HAK_VERIFY_LARGE_H

#include "hardening/matter.h"

/* The life of a large object. alloc: becomes live. hold: is about to be resized (false: it is not live).
 * unhold: could not be resized. resize: was resized. free: is freed; true: give it to hak_large_give now. alloc
 * and resize return false when the OS refuses memory; nothing has changed then. */
bool hak_verify_large_alloc(void *obj, size_t size, size_t capacity, hak_origin origin);
bool hak_verify_large_hold(void *obj);
void hak_verify_large_unhold(void *obj);
bool hak_verify_large_resize(void *obj, size_t size, size_t capacity);
bool hak_verify_large_free(void *obj);

/* Bytes from the start of a live object that belong to it or are checked; 0: a thread is at work on it.
 * hak_large_lock is held and hak_verify_large_settles is set. */
size_t hak_verify_large_end(const void *obj, size_t capacity);
extern HAK_HIDDEN _Atomic bool hak_verify_large_settles;

/* The first changed byte past the end of a large object; NULL: none. */
const unsigned char *hak_verify_large_overflow(const void *obj, const hak_large_record *record);

/* Set while a sweep checks large objects: it holds hak_large_lock, and checks objects whose record says live. */
extern HAK_HIDDEN _Atomic bool hak_verify_large_sweep;

/* The record of the live large object at the matter's address; frees the object with `end_it`. NULL, after the
 * report: no live object starts there. */
hak_large_record *hak_verify_large_live(hak_matter *m, hak_claim claim, bool end_it);

/* Reports an address where no live object begins: outside all regions, or inside a large object or its gap. */
void hak_verify_stray(const hak_matter *m);

#endif
