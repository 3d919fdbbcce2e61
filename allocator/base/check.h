/* check.h: assertions and checks. Layer 0.
 *
 * HAK_ASSERT is for internal invariants, in debug and test builds only. HAK_CHECK is always on, so it is cheap
 * or off the fast path; it ends in hak_die. The conditions have no side effects. */
#ifndef HAK_CHECK_H
#define HAK_CHECK_H

#include "allocator/base/base.h"

/* Writes `hakmem: <error>: <what>` to stderr and ends the process by SIGABRT (death.h). For broken invariants
 * of our own; errors of the program go through hak_die_at (report.h). Allocates nothing and takes no lock; may
 * be called under any lock. Defined in report.c. */
_Noreturn void hak_die(const char *error, const char *what);

/* For the `*_check` walkers, which run after every step of a fuzzer. They are not covered, because a fuzzer
 * should look for new ways through the allocator, not through its checks; and they read memory of which no
 * sanitizer knows. */
#if defined(__clang__)
#define HAK_WALKER __attribute__((no_sanitize("coverage", "address")))
/* For functions whose path in a reset between two inputs depends on the input before. Not inlined, since
 * inlined code would count as coverage. */
#define HAK_UNSEEN __attribute__((no_sanitize("coverage"), noinline))
#else
#define HAK_WALKER
#define HAK_UNSEEN
#endif

#define HAK_STRING2(x) #x
#define HAK_STRING(x)  HAK_STRING2(x)

#define HAK_CHECK(cond, what)                                                                                \
    do {                                                                                                     \
        if (HAK_UNLIKELY(!(cond)))                                                                           \
            hak_die("corrupt metadata", what);                                                               \
    } while (0)

#define HAK_ASSERT(cond)                                                                                     \
    do {                                                                                                     \
        if (HAK_DEBUG_BUILD && HAK_UNLIKELY(!(cond)))                                                        \
            hak_die("assertion failed", __FILE__ ":" HAK_STRING(__LINE__) ": " #cond);                       \
    } while (0)

#endif
