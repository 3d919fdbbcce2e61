/* fork.h: a fork finds every lock free and leaves every lock free, in parent and child. Layer 5. See
 * docs/decisions/024. */
#ifndef HAK_FORK_H
#define HAK_FORK_H

#include "allocator/base/base.h"

/* Registers the handlers of fork, once: before any other library's, where that can be. */
void hak_fork_init(void);

/* Around every registration of handlers: ours come first, and no fork is under way meanwhile. begin is true when the
 * thread was not inside of one already; end gets what begin returned. */
bool hak_fork_register_begin(void);
void hak_fork_register_end(bool began);

/* All locks, for the calling thread, which may allocate meanwhile; then given back, in the parent or the child. The
 * last steps before the process is copied, and the first ones after: who waits for another lock in between may wait
 * for ever. */
void hak_fork_lock(void);
void hak_fork_unlock(void);
void hak_fork_unlock_child(void);

/* True when libc calls the three itself: in a static program (shim_static.c). */
bool hak_fork_by_libc(void);

#endif
