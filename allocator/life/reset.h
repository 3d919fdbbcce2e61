/* reset.h: puts the allocator back to its state right after the start, for tests and fuzzers. Layer 5. Debug
 * builds only.
 *
 * No other thread may use the allocator; all objects are forgotten. Works also when a test has jumped out of
 * the report of an error in the middle of a call: held locks are forgotten, too. */
#ifndef HAK_RESET_H
#define HAK_RESET_H

#include "allocator/base/base.h"

typedef enum hak_reset {
    HAK_RESET_FRESH, /* every region goes back to the OS, as in a new process */
    HAK_RESET_KEPT, /* regions stay mapped and are emptied, without a system call or a page fault (os_keep.h) */
    HAK_RESET_GUARDED, /* as kept, but guards fault, and what an error has written is gone */
} hak_reset;

/* After a reset, the same program makes the same calls of os.h and gets the same answers as after any other
 * reset of the same kind. The cost depends on what was used since the last reset; a change of the kind costs as
 * much as a fresh one. */
void hak_test_reset(hak_reset how);

#endif
