/* lock.h: a mutex in four bytes, over a futex. Layer 0.
 *
 * Not recursive. Async-signal-unsafe. fork.c takes every lock in rank order before a fork; a new lock
 * joins there in the same change. Uncontended cost: one compare-and-swap and one exchange. */
#ifndef HAK_LOCK_H
#define HAK_LOCK_H

#include "allocator/base.h"

/* In the order in which a thread may take them; two of one rank only by fork.c. */
typedef enum hak_rank {
    HAK_RANK_INIT = 1,
    HAK_RANK_CACHES,
    HAK_RANK_DEPOT,
    HAK_RANK_LARGE,
    HAK_RANK_SUPERSLAB,
    HAK_RANK_REGION,
    HAK_RANK_POLICY,
} hak_rank;

/* word: 0 free, 1 taken, 2 taken and somebody may sleep (Drepper, "Futexes Are Tricky", mutex2). */
typedef struct hak_lock {
    _Atomic uint32_t word;
    uint8_t rank;
} hak_lock;

#define HAK_LOCK_INIT(lock_rank) {0, (lock_rank)}

void hak_lock_slow(hak_lock *lock);
void hak_unlock_slow(hak_lock *lock);

/* Between the two a thread may take several locks of one rank. fork.c only. */
void hak_lock_fork_begin(void);
void hak_lock_fork_end(void);

/* Debug builds: dies when a lock is taken out of rank order. */
void hak_lock_rank_push(const hak_lock *lock);
void hak_lock_rank_pop(const hak_lock *lock);

/* Debug builds: this thread holds no lock, whatever it has taken. For reset.h. */
void hak_lock_forget_ranks(void);

HAK_INLINE void hak_lock_take(hak_lock *lock) {
    if (HAK_DEBUG_BUILD)
        hak_lock_rank_push(lock);
    uint32_t expected = 0;
    /* acquire: pairs with the release in hak_lock_give. */
    if (!atomic_compare_exchange_strong_explicit(&lock->word, &expected, 1, memory_order_acquire,
                                                 memory_order_relaxed))
        hak_lock_slow(lock);
}

HAK_INLINE void hak_lock_give(hak_lock *lock) {
    if (HAK_DEBUG_BUILD)
        hak_lock_rank_pop(lock);
    if (atomic_exchange_explicit(&lock->word, 0, memory_order_release) == 2)
        hak_unlock_slow(lock);
}

/* In a forked child only: whoever held it is gone. */
HAK_INLINE void hak_lock_reset(hak_lock *lock) {
    if (HAK_DEBUG_BUILD)
        hak_lock_rank_pop(lock);
    atomic_store_explicit(&lock->word, 0, memory_order_relaxed);
}

#endif
