/* shim_libc.c: wraps two calls of libc that the allocator must see. Layer 6. In the shared objects that are
 * loaded before libc.
 *
 * dlopen: removes RTLD_DEEPBIND. A module opened with it finds names in itself and its own dependencies first,
 * so it calls libc's malloc and free while the rest of the process calls ours. libc's strdup then gives it an
 * object of ours, and libc's free crashes on it. PHP opens its extensions this way, and crashes under any
 * preloaded allocator (docs/decisions/015). AddressSanitizer refuses such a dlopen for the same reason. Source:
 * dlopen(3).
 *
 * prctl: a process announces here that it will filter its system calls, after which an unexpected call may kill
 * it (docs/decisions/016). Sources: prctl(2), seccomp(2). */
#include "allocator/os/os.h"
#include "allocator/os/os_process.h"

#include <dlfcn.h>
#include <linux/prctl.h>
#include <stdatomic.h>

#define EXPORT __attribute__((visibility("default")))

#if !defined(RTLD_DEEPBIND) /* musl has none */
#define RTLD_DEEPBIND 0
#endif

#if defined(__has_attribute)
#if __has_attribute(musttail)
#define TAIL_CALL __attribute__((musttail))
#endif
#endif
#ifndef TAIL_CALL
#define TAIL_CALL /* gcc before 15; with -O2 it emits a jump as well, and surface_deepbind_test checks that */
#endif

/* The next function of that name after ours: libc's, or that of another library that wraps it. */
static void *next(const char *name, void *_Atomic *known) {
    void *found = atomic_load_explicit(known, memory_order_relaxed);
    if (found == NULL) {
        found = dlsym(RTLD_NEXT, name);
        atomic_store_explicit(known, found, memory_order_relaxed); /* another thread finds the same */
    }
    return found;
}

static void *_Atomic next_dlopen;
static void *_Atomic next_prctl;

/* dlsym forgets the error that dlerror would tell next. So both are found before main, not in a call of prctl
 * between dlopen's failure and dlerror. */
__attribute__((constructor(101))) static void find_both(void) {
    (void)next("dlopen", &next_dlopen);
    (void)next("prctl", &next_prctl);
}

/* libc derives its caller from the return address, for RUNPATH and $ORIGIN. So libc's function must be called
 * by a jump. */
EXPORT void *dlopen(const char *path, int mode) {
    void *(*libc)(const char *, int);
    *(void **)&libc = next("dlopen", &next_dlopen);
    TAIL_CALL return libc(path, mode & ~RTLD_DEEPBIND);
}

const char hak_prctl_is_ours[1] = {1};

/* libc declares it with `...`, which passes words in the same registers. */
EXPORT int prctl(int operation, unsigned long a, unsigned long b, unsigned long c, unsigned long d) {
    int (*libc)(int, unsigned long, unsigned long, unsigned long, unsigned long);
    *(void **)&libc = next("prctl", &next_prctl);
    if (operation == PR_SET_SECCOMP || operation == PR_SET_NO_NEW_PRIVS)
        hak_os_filter_raise(HAK_FILTER_OWN);
    return libc(operation, a, b, c, d);
}
