/* thread_end.c: see thread_end.h. The destructor of a pthread key notices the end of a thread. */
#include "allocator/life/thread_end.h"

#include "allocator/cache/cache.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>

#ifndef PTHREAD_DESTRUCTOR_ITERATIONS
#define PTHREAD_DESTRUCTOR_ITERATIONS _POSIX_THREAD_DESTRUCTOR_ITERATIONS
#endif

static pthread_key_t key;
static _Atomic bool have_key;

/* The key's value counts the rounds of destructors in the thread. In the last round ThreadSanitizer ends its
 * own state of the thread, and no instrumented code may run after that; so one round less is used with it. */
static const char rounds[PTHREAD_DESTRUCTOR_ITERATIONS - HAK_TSAN];

/* Keeps the cache until the last round, because destructors of other keys may allocate and free after this one.
 * In the last round POSIX leaves the order open: a destructor that frees after this one finds the static cache,
 * which sends each object straight to its depot. */
static void thread_ends(void *round) {
    int saved = errno;
    const char *next = (const char *)round + 1;
    if (next == rounds + sizeof rounds || pthread_setspecific(key, next) != 0)
        hak_cache_end();
    errno = saved;
}

void hak_thread_end_init(void) {
    if (pthread_key_create(&key, thread_ends) != 0)
        return; /* no key left: the caches of ended threads leak, nothing more */
    /* release: pairs with the acquire in hak_thread_end_watch */
    atomic_store_explicit(&have_key, true, memory_order_release);
}

void hak_thread_end_watch(void) {
    if (atomic_load_explicit(&have_key, memory_order_acquire))
        (void)pthread_setspecific(key, rounds);
}
