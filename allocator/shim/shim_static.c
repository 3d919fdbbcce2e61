/* shim_static.c: what programs with the archive in them need. Layer 6. In archives only.
 *
 * Functions that a static program's libc calls where libc's own malloc would take its locks: after every handler,
 * and after its lock of streams. A shared libc does not look for them. Source: glibc's fork.c.
 *
 * prctl, as in shim_libc.c: the program's own definition comes before a shared libc's, too. */
#include "allocator/life/fork.h"
#include "allocator/os/os.h"
#include "allocator/os/os_process.h"

#include <linux/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

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

const char hak_prctl_is_ours[1] = {1};

/* There is no next one to look up in a static program. */
EXPORT int prctl(int operation, unsigned long a, unsigned long b, unsigned long c, unsigned long d);
int prctl(int operation, unsigned long a, unsigned long b, unsigned long c, unsigned long d) {
    if (operation == PR_SET_SECCOMP || operation == PR_SET_NO_NEW_PRIVS)
        hak_os_filter_raise(HAK_FILTER_OWN);
    return (int)syscall(SYS_prctl, operation, a, b, c, d);
}
