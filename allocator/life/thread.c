/* thread.c: see thread.h. The end of a thread is seen by the destructor of a pthread key. */
#include "allocator/life/thread.h"

#include "allocator/cache/cache.h"
#include "allocator/life/fork.h"
#include "allocator/life/init.h"
#include "allocator/os/death.h"

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

/* May allocate: the cache is ready for that. */
static void watch_end(void) {
    (void)pthread_setspecific(key, rounds);
}

void hak_thread_init(void) {
    if (pthread_key_create(&key, thread_ends) != 0)
        return; /* no key left: the caches of threads that end are lost, which is a leak but no more */
    /* release: pairs with the acquire in hak_thread_begin */
    atomic_store_explicit(&have_key, true, memory_order_release);
}

__attribute__((weak)) void hak_sanitizer_refuse(void) {}

static HAK_COLD HAK_NOINLINE bool begin_slow(void) {
    hak_sanitizer_refuse();
    if (hak_death_near())
        hak_death_look();
    if (!hak_init())
        return false;
    hak_cache *before = hak_cache_mine;
    int saved = errno;
    if (hak_cache_begin() && hak_cache_mine != before) {
        hak_fork_init();
        if (atomic_load_explicit(&have_key, memory_order_acquire))
            watch_end();
    }
    errno = saved;
    return true;
}

/* What a thread with a cache needs has all begun. */
bool hak_thread_begin(void) {
    return HAK_LIKELY(hak_cache_begun()) || begin_slow();
}
