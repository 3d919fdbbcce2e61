/* lock.c: the slow halves of lock.h, and the rank check of debug builds. */
#include "allocator/lock.h"

#include "allocator/check.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Long enough for a class lock's critical section (some 300 ns), short against a futex call (some 2 us). */
enum { SPINS = 100 };

static void pause_cpu(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

void hak_lock_slow(hak_lock *lock) {
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

void hak_unlock_slow(hak_lock *lock) {
    int saved = errno;
    syscall(SYS_futex, &lock->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    errno = saved;
}

void hak_lock_break(hak_lock *lock, unsigned *patience) {
    const struct timespec step = {0, 1000000};
    uint32_t seen;
    for (; (seen = atomic_load(&lock->word)) != 0 && *patience != 0; --*patience)
        syscall(SYS_futex, &lock->word, FUTEX_WAIT_PRIVATE, seen, &step, NULL, 0);
    if (seen != 0 && atomic_exchange(&lock->word, 0) != 0)
        hak_unlock_slow(lock);
}

/* How many locks of each rank this thread holds. */
static _Thread_local uint16_t held[HAK_RANK_POLICY + 1];
static _Thread_local bool forking;

HAK_WALKER void hak_lock_rank_push(const hak_lock *lock) {
    for (unsigned rank = lock->rank + (forking ? 1u : 0u); rank <= HAK_RANK_POLICY; rank++)
        if (held[rank] != 0)
            hak_die("assertion failed", "lock taken out of rank order");
    held[lock->rank]++;
}

HAK_WALKER void hak_lock_rank_pop(const hak_lock *lock) {
    if (held[lock->rank] == 0)
        hak_die("assertion failed", "lock given back that is not held");
    held[lock->rank]--;
}

HAK_WALKER void hak_lock_check_none(void) {
    for (unsigned rank = 0; HAK_DEBUG_BUILD && rank <= HAK_RANK_POLICY; rank++)
        if (held[rank] != 0)
            hak_die("assertion failed", "a crime is reported under a lock");
}

void hak_lock_fork_begin(void) {
    forking = true;
}
void hak_lock_fork_end(void) {
    forking = false;
}
void hak_lock_forget_ranks(void) {
    for (unsigned rank = 0; rank <= HAK_RANK_POLICY; rank++)
        held[rank] = 0;
    forking = false;
}
