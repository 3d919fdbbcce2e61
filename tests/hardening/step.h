/* step.h: code that is executed in steps, so that a test decides what happens between two of its instructions.
 * SIGTRAP is raised behind each instruction; the test has set the handler. Where HAK_STEPS is 0 nothing is raised. */
#ifndef HAK_TESTS_STEP_H
#define HAK_TESTS_STEP_H

#include "allocator/base/base.h"

#if defined __x86_64__ && !HAK_TSAN
#define HAK_STEPS      1
#define STEP_TRAP_FLAG 0x100ull
HAK_INLINE void step_begin(void) {
    __builtin_ia32_writeeflags_u64(__builtin_ia32_readeflags_u64() | STEP_TRAP_FLAG);
}
HAK_INLINE void step_end(void) {
    __builtin_ia32_writeeflags_u64(__builtin_ia32_readeflags_u64() & ~STEP_TRAP_FLAG);
}
#else
#define HAK_STEPS 0
#endif

#endif
