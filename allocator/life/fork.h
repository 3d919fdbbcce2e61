/* fork.h: makes sure that every lock is free after a fork, in parent and child. Layer 5. See
 * docs/decisions/024. */
#ifndef HAK_FORK_H
#define HAK_FORK_H

#include "allocator/base/base.h"

/* Registers our handlers of fork, once; before those of any other library where possible. */
void hak_fork_init(void);

/* Called around every registration of handlers: ours are registered first, and no fork runs meanwhile. begin
 * returns true when the thread was not inside a registration already; pass the result to end. */
bool hak_fork_register_begin(void);
void hak_fork_register_end(bool began);

/* lock takes all locks for the calling thread, which may still allocate; the others give them back, in the
 * parent or in the child. These are the last step before the process is copied and the first one after: a
 * thread that waits for another lock in between may wait for ever. */
void hak_fork_lock(void);
void hak_fork_unlock(void);
void hak_fork_unlock_child(void);

/* True when libc calls the three functions above itself, as in a static program (shim_static.c). */
bool hak_fork_by_libc(void);

#endif
