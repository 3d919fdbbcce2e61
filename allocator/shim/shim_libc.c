/* shim_libc.c: wraps some calls of libc that the allocator must see. Layer 6. In the shared objects that are
 * loaded before libc.
 *
 * dlopen: removes RTLD_DEEPBIND. A module opened with it finds names in itself and its own dependencies first,
 * so it calls libc's malloc and free while the rest of the process calls ours. libc's strdup then gives it an
 * object of ours, and libc's free crashes on it. PHP opens its extensions this way, and crashes under any
 * preloaded allocator (docs/decisions/015). AddressSanitizer refuses such a dlopen for the same reason. Source:
 * dlopen(3).
 *
 * prctl: a process announces here that it will filter its system calls, after which an unexpected call may kill
 * it (docs/decisions/016). Sources: prctl(2), seccomp(2).
 *
 * setrlimit, prlimit: the process may have less address space from now on. What is free goes, because the next request
 * may be one that the allocator does not see, such as a thread's stack. Sources: setrlimit(2).
 *
 * pthread_create: when libc cannot have a stack for want of memory, the allocator gives back what it can do
 * without, and libc tries again. Source: pthread_create(3). */
#include "allocator/life/background.h"
#include "allocator/life/init.h"
#include "allocator/life/reclaim.h"
#include "allocator/os/os.h"
#include "allocator/os/os_process.h"

#include <asm/resource.h>
#include <dlfcn.h>
#include <errno.h>
#include <linux/prctl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

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
static void *_Atomic next_setrlimit;
static void *_Atomic next_prlimit;
static void *_Atomic next_pthread_create;

/* dlsym forgets the error that dlerror would tell next. So all are found before main, not in a call of prctl
 * between dlopen's failure and dlerror. */
__attribute__((constructor(101))) static void find_all(void) {
    (void)next("dlopen", &next_dlopen);
    (void)next("prctl", &next_prctl);
    (void)next("setrlimit", &next_setrlimit);
    (void)next("prlimit", &next_prlimit);
    (void)next("pthread_create", &next_pthread_create);
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

/* After a call that has set a limit of this process. A sanitizer calls these functions while it or we start. The child
 * of a vfork has limits of its own, but not its memory. */
static void limited(int resource) {
    if ((resource == RLIMIT_AS || resource == RLIMIT_DATA) && hak_init_is_done() &&
        hak_background_is_own_process())
        hak_reclaim_limited();
}

/* Both names of each: of programs whose off_t had 32 bits once. glibc's are one function for both. */
EXPORT int setrlimit(int resource, const void *limit) {
    int (*libc)(int, const void *);
    *(void **)&libc = next("setrlimit", &next_setrlimit);
    int result = libc(resource, limit);
    if (result == 0)
        limited(resource);
    return result;
}
EXPORT int setrlimit64(int resource, const void *limit) __attribute__((alias("setrlimit")));

EXPORT int prlimit(int process, int resource, const void *limit, void *old) {
    int (*libc)(int, int, const void *, void *);
    *(void **)&libc = next("prlimit", &next_prlimit);
    int result = libc(process, resource, limit, old);
    if (result == 0 && limit != NULL && (process == 0 || process == getpid()))
        limited(resource);
    return result;
}
EXPORT int prlimit64(int process, int resource, const void *limit, void *old)
    __attribute__((alias("prlimit")));

/* Bytes of the stack that libc maps for a thread; 0: unknown. */
static size_t stack_bytes(const pthread_attr_t *attributes) {
    pthread_attr_t usual;
    size_t size = 0, guard = 0;
    bool own = attributes == NULL && pthread_getattr_default_np(&usual) == 0;
    const pthread_attr_t *its = own ? &usual : attributes;
    if (its != NULL &&
        (pthread_attr_getstacksize(its, &size) != 0 || pthread_attr_getguardsize(its, &guard) != 0))
        size = guard = 0;
    if (own)
        (void)pthread_attr_destroy(&usual);
    return size + guard;
}

EXPORT int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *),
                          void *arg) {
    int (*libc)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    *(void **)&libc = next("pthread_create", &next_pthread_create);
    int error = libc(thread, attributes, start, arg);
    if (HAK_UNLIKELY(error == EAGAIN) && hak_init_is_done() &&
        hak_reclaim_for_others(stack_bytes(attributes)))
        error = libc(thread, attributes, start, arg);
    return error;
}
