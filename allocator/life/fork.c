/* fork.c: see fork.h. Takes all locks in rank order before a fork, so that no other thread is inside anything
 * that they guard. The child keeps the cache of its only thread. Objects in the caches of other threads are
 * lost in the child, like the stacks of these threads.
 *
 * Where libc would take its own malloc's locks: after every handler and after its lock of streams. Handlers
 * registered first are called last before a fork, and first after it; shim_fork.c sees to that. What libc locks
 * after all handlers is locked here before, where a thread may allocate that holds it. */
#include "allocator/life/fork.h"

#include "allocator/cache/cache.h"
#include "allocator/heap/large.h"
#include "allocator/heap/profile.h"
#include "allocator/life/idle.h"
#include "allocator/life/init.h"
#include "allocator/life/reclaim.h"
#include "allocator/os/death.h"
#include "allocator/os/os_process.h"
#include "allocator/os/stack_walk.h"
#include "allocator/policy.h"

#include <pthread.h>
#if defined(__GLIBC__)
#include <gnu/libc-version.h>
#else
#define gnu_get_libc_version() "0" /* musl calls handlers with its lock of the registry taken, too */
#endif

static hak_lock *const after_depots[] = {&hak_large_lock, &hak_superslab_lock, &hak_region_lock,
                                         &hak_profile_lock};
enum { AFTER_DEPOTS = sizeof after_depots / sizeof after_depots[0] };

/* Held while a thread registers handlers: libc may allocate then, under a lock that a fork needs. */
static hak_lock registration = HAK_LOCK_INIT(HAK_RANK_FORK);
static _Atomic bool registered;
static _Thread_local bool registering;

static _Thread_local unsigned depth; /* nested forks of the thread: a handler of a fork may fork */
static _Thread_local bool has_all;   /* the thread holds all locks */

/* libc's recursive lock of the list of all streams. A thread that flushes all streams holds it and waits for a
 * stream, whose owner may wait for us (getline). Source: glibc's fork.c, genops.c. */
#pragma weak _IO_list_lock
#pragma weak _IO_list_unlock
extern void _IO_list_lock(void);
extern void _IO_list_unlock(void);

/* What pthread_atfork calls in glibc. exit() unregisters what its caller names as `library`, while other threads may
 * be between prepare and parent, or fork later; NULL is never unregistered. Source: glibc's cxa_finalize.c. */
#pragma weak __register_atfork
extern int __register_atfork(void (*before)(void), void (*in_parent)(void), void (*in_child)(void),
                             void *library);

__attribute__((weak)) bool hak_fork_by_libc(void) {
    return false;
}

static void policy_locks(void (*how)(hak_lock *lock)) {
    hak_lock *lock;
    for (unsigned i = 0; (lock = hak_policy_lock(i)) != NULL; i++)
        how(lock);
}

/* glibc before 2.36 calls handlers with its lock of the registry held, for which a thread that registers may
 * already wait. */
static bool registry_is_free(void) {
    const char *version = gnu_get_libc_version();
    unsigned numbers[2] = {0, 0};
    for (int i = 0; i < 2; i++, version += *version == '.')
        for (; *version >= '0' && *version <= '9'; version++)
            numbers[i] = numbers[i] * 10 + (unsigned)(*version - '0');
    return numbers[0] > 2 || (numbers[0] == 2 && numbers[1] >= 36);
}

static void registration_lock(void (*how)(hak_lock *lock)) {
    if (!registering && registry_is_free())
        how(&registration);
}

void hak_fork_lock(void) {
    hak_lock_fork_begin();
    registration_lock(hak_lock_fork_take);
    hak_lock_fork_take(&hak_init_lock);
    hak_lock_fork_take(&hak_cache_lock);
    hak_depot_lock_all();
    for (int i = 0; i < AFTER_DEPOTS; i++)
        hak_lock_fork_take(after_depots[i]);
    policy_locks(hak_lock_fork_take);
    hak_lock_fork_owns(true);
}

void hak_fork_unlock(void) {
    hak_lock_fork_owns(false);
    policy_locks(hak_lock_fork_give);
    for (int i = AFTER_DEPOTS; i-- > 0;)
        hak_lock_fork_give(after_depots[i]);
    hak_depot_unlock_all();
    hak_lock_fork_give(&hak_cache_lock);
    hak_lock_fork_give(&hak_init_lock);
    registration_lock(hak_lock_fork_give);
    hak_lock_fork_end();
}

void hak_fork_unlock_child(void) {
    hak_cache_alone();
    hak_fork_unlock();
}

/* A process of one thread takes no lock: a signal handler that has interrupted malloc may call fork, and the
 * interrupted call goes on in both processes. */
static void prepare(void) {
    if (depth++ != 0 || HAK_ALONE() || hak_fork_by_libc())
        return;
    if (hak_os_strict()) /* the kernel wants room for all that is mapped once more */
        (void)hak_reclaim_memory(1, HAK_RECLAIM_IDLE);
    if (_IO_list_lock != NULL)
        _IO_list_lock();
    hak_fork_lock();
    has_all = true;
}

/* True when the caller must give the locks back. */
static bool is_over(void) {
    bool over = depth != 0 && --depth == 0 && has_all;
    if (over)
        has_all = false;
    return over;
}

static void parent(void) {
    if (!is_over())
        return;
    hak_fork_unlock();
    if (_IO_list_unlock != NULL)
        _IO_list_unlock();
}

/* libc has made its locks anew. */
static void child(void) {
    if (is_over())
        hak_fork_unlock_child();
    hak_death_forget();
    hak_stack_unwind_fork_child();
    hak_policy_fork_child();
    hak_idle_fork_child();
}

bool hak_fork_register_begin(void) {
    if (registering)
        return false;
    hak_lock_take(&registration);
    registering = true;
    if (!atomic_load_explicit(&registered, memory_order_relaxed)) {
        atomic_store_explicit(&registered, true, memory_order_relaxed);
        if (__register_atfork != NULL)
            (void)__register_atfork(prepare, parent, child, NULL);
        else /* musl, which never unregisters */
            (void)pthread_atfork(prepare, parent, child);
    }
    return true;
}

void hak_fork_register_end(bool began) {
    if (!began)
        return;
    registering = false;
    hak_lock_give(&registration);
}

void hak_fork_init(void) {
    if (!atomic_load_explicit(&registered, memory_order_relaxed))
        hak_fork_register_end(hak_fork_register_begin());
}
