/* shim_fork.c: __register_atfork, the function of libc through which pthread_atfork and others register
 * handlers of fork. Layer 6.
 *
 * Registers our handlers before the first of the others, whichever constructor runs first, so that ours are
 * called last before a fork: another library's handler may allocate, or take a lock whose holder allocates
 * (docs/decisions/024).
 *
 * Weak: a static program has libc's own function. Source: glibc's register-atfork.c. */
#include "allocator/life/fork.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>

#define EXPORT __attribute__((visibility("default"), weak))

#pragma weak dlsym

typedef int registers(void (*prepare)(void), void (*parent)(void), void (*child)(void), void *library);

EXPORT registers __register_atfork;

EXPORT int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void),
                             void *library) {
    static void *_Atomic known;
    void *found = atomic_load_explicit(&known, memory_order_relaxed);
    if (found == NULL && dlsym != NULL) {
        found = dlsym(RTLD_NEXT, "__register_atfork");
        atomic_store_explicit(&known, found, memory_order_relaxed); /* another thread finds the same */
    }
    registers *libc;
    *(void **)&libc = found;
    if (libc == NULL)
        return ENOMEM;
    bool began = hak_fork_register_begin();
    int error = libc(prepare, parent, child, library);
    hak_fork_register_end(began);
    return error;
}
