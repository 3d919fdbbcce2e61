/* calls.h: a test program that includes this header, once, sees the calls of syscall(2) before the kernel does. The
 * core makes by it all calls for which libc's functions would be cancellation points. */
#ifndef HAK_TESTS_CALLS_H
#define HAK_TESTS_CALLS_H

#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <unistd.h>

/* Returns true when it has answered the call: *answer, with errno where that is -1. NULL: all calls go on. */
typedef bool calls_hook(long number, const long args[6], long *answer);
static calls_hook *_Atomic calls_seen_by;

typedef long calls_function(long number, ...);

static calls_function *calls_libc(void) {
    static calls_function *_Atomic known;
    calls_function *found = atomic_load(&known);
    if (found == NULL) {
        int saved = errno;
        *(void **)&found = dlsym(RTLD_NEXT, "syscall");
        errno = saved;
        atomic_store(&known, found);
    }
    return found;
}

/* In the place of libc's. Most calls have fewer than six arguments; the rest is whatever the registers have. */
#if defined(__clang__)
__attribute__((no_sanitize("memory")))
#endif
long syscall(long number, ...) {
    long args[6], answer;
    va_list list;
    va_start(list, number);
    for (int i = 0; i < 6; i++)
        args[i] = va_arg(list, long);
    va_end(list);
    calls_hook *hook = atomic_load(&calls_seen_by);
    if (hook != NULL && hook(number, args, &answer))
        return answer;
    return calls_libc()(number, args[0], args[1], args[2], args[3], args[4], args[5]);
}

#endif
