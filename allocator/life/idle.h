/* idle.h: gives memory back to the OS that has been unused for a while. Layer 5.
 *
 * Each slow call reads the clock, which costs no system call. Now and then one of them makes a pass over free
 * memory. */
#ifndef HAK_IDLE_H
#define HAK_IDLE_H

#include "allocator/os/os.h"

enum {
    HAK_IDLE_PERIOD_MS = 250
}; /* between passes: a quarter of the shortest time after which memory goes back */

/* Time of the last pass, in milliseconds. */
extern _Atomic uint64_t hak_idle_last;

/* Makes a pass, unless another thread does. No lock is held. */
void hak_idle_pass(uint64_t now);

HAK_INLINE void hak_idle_look(void) {
    uint64_t now = hak_os_milliseconds();
    if (HAK_UNLIKELY(now - atomic_load_explicit(&hak_idle_last, memory_order_relaxed) >= HAK_IDLE_PERIOD_MS))
        hak_idle_pass(now);
}

/* For init.c and reset.c: starts the clock anew. */
void hak_idle_init(void);

/* With HAKMEM_SS_BACKGROUND: make the next slow call make a pass and create the background thread. Called when
 * the library is loaded, and in a forked child. */
void hak_idle_loaded(void);
void hak_idle_fork_child(void);

#endif
