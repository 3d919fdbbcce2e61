/* ahead.h: asks for the pages of a wide object before its owner touches them one by one.
 *
 * A slot above HAK_WIPE_MOST bytes rests without memory, so each page that the next owner touches costs a page fault.
 * One system call makes them all resident for three quarters of the price; but many programs never touch most of such
 * an object. So free looks what the owners of each size did. Only after HAK_AHEAD_SURE objects of a size in a row were
 * touched as a whole, the next ones get their pages at once. Free then looks whether a page of such an object is still
 * zero; one that is ends this for the size. Objects that are live, and have not shown yet that it was right, have at
 * most HAK_AHEAD_BYTES and a quarter of what is live in slabs.
 *
 * Needs Linux 5.14 and an OS that says which pages are resident; elsewhere nothing changes. Where the OS refuses once,
 * it is not asked again. Any thread, no lock. Keeps errno. See docs/decisions/031. */
#ifndef HAK_AHEAD_H
#define HAK_AHEAD_H

#include "allocator/base/base.h"

enum {
    HAK_AHEAD_SURE = 8,
    HAK_AHEAD_BYTES = 8 * HAK_MIB,
};

/* A slot of `room` bytes, which rested without memory, is handed out for `size` bytes, canary included: may make the
 * pages of these bytes resident. Their contents do not change. */
void hak_ahead_ask(void *obj, size_t size, size_t room);

/* The slot of `room` bytes is freed, and will be purged. Learns from the first `used` bytes, the owner's. */
void hak_ahead_learn(const void *obj, size_t used, size_t room);

void hak_ahead_reset(void); /* debug builds: nothing was learned */

#endif
