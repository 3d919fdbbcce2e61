/* reset.h: the allocator as it is right after its start, for tests and fuzzers. Layer 5. Debug builds only.
 *
 * No other thread may be using the allocator; all objects are forgotten. It works also when an error has been found
 * in the middle of a call and the test has jumped out of it: locks that are held are forgotten, too. */
#ifndef HAK_RESET_H
#define HAK_RESET_H

#include "allocator/base/base.h"

typedef enum hak_reset {
    HAK_RESET_FRESH, /* every region goes back to the OS, as in a new process */
    HAK_RESET_KEPT, /* regions stay mapped and are emptied, without a call of the OS or a page fault (os_keep.h) */
    HAK_RESET_GUARDED, /* as kept, but guards fault, and whatever an error has written is gone, too */
} hak_reset;

/* What follows makes the same calls of os.h and gets the same answers as after any other reset of that kind. What a
 * reset costs depends on what was used since the one before; a change of the kind costs as much as a fresh one. */
void hak_test_reset(hak_reset how);

#endif
