/* lock.c: the slow halves of lock.h, and the rank check of debug builds. */
#include "allocator/base/lock.h"

#include "allocator/base/check.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Long enough for the critical section of a depot's lock (about 300 ns), short against a futex call (about 2
 * us). */
enum { SPINS = 100 };

static void pause_cpu(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* The thread's part in a fork. */
static _Thread_local enum { NOTHING, TAKES, OWNS } forking;

void hak_lock_slow(hak_lock *lock) {
    if (forking == OWNS)
        return;
    for (int i = 0; i < SPINS; i++) {
        uint32_t expected = 0;
        if (atomic_load_explicit(&lock->word, memory_order_relaxed) == 0 &&
            atomic_compare_exchange_weak_explicit(&lock->word, &expected, 1, memory_order_acquire,
                                                  memory_order_relaxed))
            return;
        pause_cpu();
    }
    int saved = errno;
    while (atomic_exchange_explicit(&lock->word, 2, memory_order_acquire) != 0)
        syscall(SYS_futex, &lock->word, FUTEX_WAIT_PRIVATE, 2, NULL, NULL, 0);
    errno = saved;
}

static void wake(hak_lock *lock) {
    int saved = errno;
    syscall(SYS_futex, &lock->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    errno = saved;
}

static void give_and_wake(hak_lock *lock) {
    if (atomic_exchange_explicit(&lock->word, 0, memory_order_release) == 2)
        wake(lock);
}

void hak_unlock_slow(hak_lock *lock) {
    if (forking != OWNS)
        give_and_wake(lock);
}

bool hak_lock_seen_free(const hak_lock *lock, unsigned *patience) {
    const struct timespec step = {0, 1000000};
    int saved = errno;
    uint32_t seen;
    for (; (seen = atomic_load(&lock->word)) != 0 && *patience != 0; --*patience)
        syscall(SYS_futex, &lock->word, FUTEX_WAIT_PRIVATE, seen, &step, NULL, 0);
    errno = saved;
    return seen == 0;
}

void hak_lock_break(hak_lock *lock, unsigned *patience) {
    if (!hak_lock_seen_free(lock, patience) && atomic_exchange(&lock->word, 0) != 0)
        wake(lock);
}

/* How many locks of each rank this thread holds. */
static _Thread_local uint16_t held[HAK_RANKS];

HAK_WALKER void hak_lock_rank_push(const hak_lock *lock) {
    if (forking == OWNS)
        return;
    for (unsigned rank = lock->rank + (forking != NOTHING ? 1u : 0u); rank < HAK_RANKS; rank++)
        if (held[rank] != 0)
            hak_die("assertion failed", "lock taken out of rank order");
    held[lock->rank]++;
}

HAK_WALKER void hak_lock_rank_pop(const hak_lock *lock) {
    if (forking == OWNS)
        return;
    if (held[lock->rank] == 0)
        hak_die("assertion failed", "lock given back that is not held");
    held[lock->rank]--;
}

HAK_WALKER void hak_lock_rank_held(const hak_lock *lock) {
    if (forking != OWNS && held[lock->rank] == 0)
        hak_die("assertion failed", "what a lock guards is changed without it");
}

HAK_WALKER void hak_lock_check_none(void) {
    for (unsigned rank = 0; HAK_DEBUG_BUILD && forking != OWNS && rank < HAK_RANKS; rank++)
        if (held[rank] != 0)
            hak_die("assertion failed", "an error is reported under a lock");
}

void hak_lock_fork_begin(void) {
    forking = TAKES;
}
void hak_lock_fork_owns(bool all) {
    forking = all ? OWNS : TAKES;
}
void hak_lock_fork_end(void) {
    forking = NOTHING;
}

/* A thread that goes to sleep between the two steps is not lost: the word may say 2 without need, but never
 * says 3 when a thread sleeps. */
void hak_lock_fork_take(hak_lock *lock) {
    hak_lock_take(lock);
    if (atomic_exchange_explicit(&lock->word, 3, memory_order_relaxed) == 2)
        atomic_store_explicit(&lock->word, 2, memory_order_relaxed);
}
void hak_lock_fork_give(hak_lock *lock) {
    if (HAK_DEBUG_BUILD)
        hak_lock_rank_pop(lock);
    give_and_wake(lock);
}

void hak_lock_forget_ranks(void) {
    for (unsigned rank = 0; rank < HAK_RANKS; rank++)
        held[rank] = 0;
    forking = NOTHING;
}
