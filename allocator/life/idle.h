/* idle.h: what nobody has used for a while goes back to the OS, by the clock. Layer 5.
 *
 * Each slow call looks at the clock, which costs no system call; now and then one of them makes a pass over what is
 * free. */
#ifndef HAK_IDLE_H
#define HAK_IDLE_H

#include "allocator/os/os.h"

enum {
    HAK_IDLE_PERIOD_MS = 250
}; /* between passes: a quarter of the shortest time after which anything goes */

/* When the last pass was, in milliseconds. */
extern _Atomic uint64_t hak_idle_last;

/* One pass, unless another thread makes it. No lock is held. */
void hak_idle_pass(uint64_t now);

HAK_INLINE void hak_idle_look(void) {
    uint64_t now = hak_os_milliseconds();
    if (HAK_UNLIKELY(now - atomic_load_explicit(&hak_idle_last, memory_order_relaxed) >= HAK_IDLE_PERIOD_MS))
        hak_idle_pass(now);
}

/* For init.c and reset.c: nothing is idle yet. */
void hak_idle_init(void);

/* With HAKMEM_SS_BACKGROUND the next slow call makes a pass, and a thread that makes more: when the library is
 * loaded, and in a child. */
void hak_idle_loaded(void);
void hak_idle_fork_child(void);

#endif
