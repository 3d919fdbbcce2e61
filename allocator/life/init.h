/* init.h: starts the allocator. Layer 5. */
#ifndef HAK_INIT_H
#define HAK_INIT_H

#include "allocator/base/lock.h"

/* Starts the allocator; only the first call does work. False: the OS refused what the start needs; a later call
 * tries again. Thread-safe. Does not call malloc. */
bool hak_init(void);

/* True when it has started. False also while it starts: what the OS is asked then may come back here. */
bool hak_init_is_done(void);

/* For fork.c. */
extern hak_lock hak_init_lock;

#endif
