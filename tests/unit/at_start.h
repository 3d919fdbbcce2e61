/* at_start.h: the start of the allocator, with a failure of the OS in it.
 *
 * The allocator starts before main, so a test that wants its k-th call of the OS to fail runs its own program again. */
#ifndef HAK_TESTS_AT_START_H
#define HAK_TESTS_AT_START_H

#include <stdint.h>

#define UNDER_MSAN 0
#if defined(__has_feature)
#if __has_feature(memory_sanitizer)
#undef UNDER_MSAN
#define UNDER_MSAN 1
#endif
#endif

/* Runs this program with the argument `argument`, while the k-th call of the OS fails; 0: none fails. Returns the
 * wait status. */
int at_start_run(uint64_t k, const char *argument);

#endif
