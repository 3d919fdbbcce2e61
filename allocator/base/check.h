/* check.h: what happens when something that must be true is not. Layer 0.
 *
 * HAK_ASSERT  internal truth; only in debug and test builds
 * HAK_CHECK   always on: cheap, or off the fast path; ends in hak_die
 * Neither evaluates anything with a side effect. */
#ifndef HAK_CHECK_H
#define HAK_CHECK_H

#include "allocator/base/base.h"

/* Writes `hakmem: <error>: <what>` to stderr and ends the process by SIGABRT (death.h). For our own invariants;
 * errors of the caller go through hak_die_at (report.h). Allocates nothing, takes no lock, may be called under any.
 * report.c. */
_Noreturn void hak_die(const char *error, const char *what);

/* Of the `*_check` walkers, which run after every step of a fuzzer: it is to look for new ways through the
 * allocator, not through them; and what they read is memory that no sanitizer knows of. */
#if defined(__clang__)
#define HAK_WALKER __attribute__((no_sanitize("coverage", "address")))
/* Of what does one thing in a reset between two inputs, or another, because of the input before. Not inlined, or it
 * would count. */
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
