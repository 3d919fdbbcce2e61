/* shim_static.c: functions that fork in a static program's libc calls where libc's own malloc would take its
 * locks: after every handler, and after its lock of streams. Layer 6. In archives only; a shared libc does not
 * look for them. Source: glibc's fork.c. */
#include "allocator/life/fork.h"

#define EXPORT __attribute__((visibility("default"), weak))

/* Present in static programs that fork; the second one before glibc 2.36. */
#pragma weak __run_prefork_handlers
#pragma weak __run_fork_handlers
EXPORT extern const char __run_prefork_handlers[], __run_fork_handlers[];

bool hak_fork_by_libc(void) {
    return __run_prefork_handlers != NULL || __run_fork_handlers != NULL;
}

EXPORT void __malloc_fork_lock_parent(void);
EXPORT void __malloc_fork_unlock_parent(void);
EXPORT void __malloc_fork_unlock_child(void);

void __malloc_fork_lock_parent(void) {
    hak_fork_lock();
}
void __malloc_fork_unlock_parent(void) {
    hak_fork_unlock();
}
void __malloc_fork_unlock_child(void) {
    hak_fork_unlock_child();
}
