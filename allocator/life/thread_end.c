/* thread_end.c: see thread_end.h. The end of a thread is seen by the destructor of a pthread key. */
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

/* The key's value says how many rounds of destructors the thread has been through. In the last one ThreadSanitizer
 * takes what it has of the thread away; nothing that it has instrumented can run after that. */
static const char rounds[PTHREAD_DESTRUCTOR_ITERATIONS - HAK_TSAN];

/* Destructors of other keys allocate and free after this one, and in further rounds: the cache stays to the last
 * one. POSIX leaves open which destructor comes first: those that free after that find the static cache that sends
 * every object straight to the depots. */
static void thread_ends(void *round) {
    int saved = errno;
    const char *next = (const char *)round + 1;
    if (next == rounds + sizeof rounds || pthread_setspecific(key, next) != 0)
        hak_cache_end();
    errno = saved;
}

void hak_thread_end_init(void) {
    if (pthread_key_create(&key, thread_ends) != 0)
        return; /* no key left: the caches of threads that end are lost, which is a leak but no more */
    /* release: pairs with the acquire in hak_thread_end_watch */
    atomic_store_explicit(&have_key, true, memory_order_release);
}

void hak_thread_end_watch(void) {
    if (atomic_load_explicit(&have_key, memory_order_acquire))
        (void)pthread_setspecific(key, rounds);
}
