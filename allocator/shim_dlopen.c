/* shim_dlopen.c: dlopen without RTLD_DEEPBIND. Layer 6. In the shared objects that are loaded before libc.
 *
 * A module opened with RTLD_DEEPBIND finds names in itself and its own dependencies first: libc's malloc and free, while the
 * rest of the process has ours. libc's strdup then gives it an object of ours, and libc's free dies of that. PHP opens its
 * extensions so, and crashes under any allocator that is preloaded (docs/decisions/015). AddressSanitizer refuses such an open for
 * the same reason.
 * Source: dlopen(3). */
#include "allocator/base.h"

#include <dlfcn.h>
#include <stdatomic.h>

#if defined(__has_attribute)
#if __has_attribute(musttail)
#define TAIL_CALL __attribute__((musttail))
#endif
#endif
#ifndef TAIL_CALL
#define TAIL_CALL /* gcc before 15; with -O2 it makes a jump of it as well, and surface_deepbind_test sees it */
#endif

typedef void *open_function(const char *path, int mode);

/* The dlopen that comes after ours: libc's, or another library's that wraps it. */
static open_function *next_dlopen(void) {
    static _Atomic(open_function *) next;
    open_function *found = atomic_load_explicit(&next, memory_order_relaxed);
    if (found == NULL) {
        *(void **)&found = dlsym(RTLD_NEXT, "dlopen");
        atomic_store_explicit(&next, found, memory_order_relaxed); /* whoever comes second finds the same */
    }
    return found;
}

/* libc asks for its caller by the return address: whose RUNPATH counts, what $ORIGIN is. So it must be called by a jump. */
__attribute__((visibility("default"))) void *dlopen(const char *path, int mode) {
    open_function *next = next_dlopen();
    TAIL_CALL return next(path, mode & ~RTLD_DEEPBIND);
}
