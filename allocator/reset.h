/* reset.h: the allocator as it is right after its start, for tests and fuzzers. Layer 5. Debug builds only.
 *
 * No other thread may be using the allocator; all objects are forgotten. It works also when a crime has been found in the
 * middle of a call and the test has jumped out of it: locks that are held are forgotten, too. */
#ifndef HAK_RESET_H
#define HAK_RESET_H

#include "allocator/base.h"

/* `fresh`: every region goes back to the OS, as in a new process. Else, where the policy allows it, regions stay mapped and
 * are emptied, which costs no page fault: an input of a fuzzer then takes microseconds. Either way, what follows
 * makes the same calls of the OS and gets the same answers as after any other reset of that kind. */
void hak_test_reset(bool fresh);

#endif
