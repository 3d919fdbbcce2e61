/* lock.h: a mutex in four bytes, over a futex. Layer 0.
 *
 * Not recursive, not async-signal-safe. fork.c takes every lock in rank order before a fork; a new lock must
 * join there in the same change. Uncontended cost: two compare-and-swaps. While the process has one thread:
 * plain loads and stores, because an atomic exchange waits for all earlier stores, and those of the program may
 * miss every cache.
 *
 * A thread that forks holds every lock. Handlers of other libraries may allocate in it meanwhile, so its own
 * take and give have no effect until the fork ends (docs/decisions/024). */
#ifndef HAK_LOCK_H
#define HAK_LOCK_H

#include "allocator/base/base.h"

#if defined(__has_include) && __has_include(<sys/single_threaded.h>)
#include <sys/single_threaded.h>
#pragma weak __libc_single_threaded
#define HAK_ALONE() (&__libc_single_threaded != NULL && __libc_single_threaded != 0)
#else
#define HAK_ALONE() false
#endif

/* A thread takes locks in this order. Only fork.c takes two of one rank. */
typedef enum hak_rank {
    HAK_RANK_FORK = 1,
    HAK_RANK_INIT,
    HAK_RANK_CACHES,
    HAK_RANK_DEPOT,
    HAK_RANK_LARGE,
    HAK_RANK_SUPERSLAB,
    HAK_RANK_REGION,
    HAK_RANK_PROFILE,
    HAK_RANK_POLICY,
    HAK_RANK_REST,
    HAK_RANKS,
} hak_rank;

/* word: 0 free; 1 taken; 2 taken, and a thread may sleep (Drepper, "Futexes Are Tricky", mutex2); 3 taken for a
 * fork, and no thread sleeps. A thread that forks leaves no lock at 1, so its takes and gives in between all
 * reach the slow paths, which ignore them. */
typedef struct hak_lock {
    _Atomic uint32_t word;
    uint8_t rank;
} hak_lock;

#define HAK_LOCK_INIT(lock_rank) {0, (lock_rank)}

void hak_lock_slow(hak_lock *lock);
void hak_unlock_slow(hak_lock *lock);

/* For fork.c only. Between begin and end, hak_lock_fork_take may take several locks of one rank. Between
 * owns(true) and owns(false) the thread holds all locks, and every other take and give of it has no effect. */
void hak_lock_fork_begin(void);
void hak_lock_fork_take(hak_lock *lock);
void hak_lock_fork_owns(bool all);
void hak_lock_fork_give(hak_lock *lock); /* in parent or child; wakes a sleeper */
void hak_lock_fork_end(void);

/* Debug builds: dies when a lock is taken out of rank order. */
void hak_lock_rank_push(const hak_lock *lock);
void hak_lock_rank_pop(const hak_lock *lock);

/* Debug builds: dies when this thread holds no lock of that rank. Functions named *_locked begin with it. */
void hak_lock_rank_held(const hak_lock *lock);
HAK_INLINE void hak_lock_check_held(const hak_lock *lock) {
    if (HAK_DEBUG_BUILD)
        hak_lock_rank_held(lock);
}

/* In a process that dies: waits up to *patience milliseconds (and lowers it) until the lock is free, else frees
 * it by force. */
void hak_lock_break(hak_lock *lock, unsigned *patience);

/* For code that may have interrupted the holder. Waits up to *patience milliseconds (and lowers it) until the
 * lock is free, and does not take it. True: it was free, so this thread does not hold it. False: this thread
 * may hold it. */
bool hak_lock_seen_free(const hak_lock *lock, unsigned *patience);

/* Debug builds: dies when this thread holds a lock. */
void hak_lock_check_none(void);

/* Debug builds: this thread holds no lock, whatever it has taken. For reset.h. */
void hak_lock_forget_ranks(void);

HAK_INLINE void hak_lock_take(hak_lock *lock) {
    if (HAK_DEBUG_BUILD)
        hak_lock_rank_push(lock);
    uint32_t expected = 0;
    if (HAK_ALONE() && HAK_LIKELY(atomic_load_explicit(&lock->word, memory_order_relaxed) == 0)) {
        atomic_store_explicit(&lock->word, 1, memory_order_relaxed);
        return;
    }
    /* acquire: pairs with the release in hak_lock_give. */
    if (!atomic_compare_exchange_strong_explicit(&lock->word, &expected, 1, memory_order_acquire,
                                                 memory_order_relaxed))
        hak_lock_slow(lock);
}

/* For code that may have interrupted the holder, or can do without the lock. Returns false and takes nothing
 * when the lock is taken. */
HAK_INLINE bool hak_lock_try(hak_lock *lock) {
    uint32_t expected = 0;
    if (!atomic_compare_exchange_strong_explicit(&lock->word, &expected, 1, memory_order_acquire,
                                                 memory_order_relaxed))
        return false;
    if (HAK_DEBUG_BUILD)
        hak_lock_rank_push(lock);
    return true;
}

HAK_INLINE void hak_lock_give(hak_lock *lock) {
    if (HAK_DEBUG_BUILD)
        hak_lock_rank_pop(lock);
    if (HAK_ALONE()) {
        atomic_store_explicit(&lock->word, 0, memory_order_relaxed); /* nobody waits */
        return;
    }
    uint32_t expected = 1;
    if (!atomic_compare_exchange_strong_explicit(&lock->word, &expected, 0, memory_order_release,
                                                 memory_order_relaxed))
        hak_unlock_slow(lock);
}

/* True when any thread holds the lock now. In a process of one thread this means that a signal interrupted the
 * holder. */
HAK_INLINE bool hak_lock_is_taken(const hak_lock *lock) {
    return atomic_load_explicit(&lock->word, memory_order_relaxed) != 0;
}

/* For counters that change only under a lock and that any thread may read. Word-sized atomics suffice; no
 * exchange is needed. */
HAK_INLINE void hak_counter_add(_Atomic size_t *counter, size_t n) {
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
                          memory_order_relaxed);
}
HAK_INLINE void hak_counter_sub(_Atomic size_t *counter, size_t n) {
    hak_counter_add(counter, (size_t)0 - n);
}

#endif
