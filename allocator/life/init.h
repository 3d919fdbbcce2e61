/* init.h: brings the allocator to life. Layer 5. */
#ifndef HAK_INIT_H
#define HAK_INIT_H

#include "allocator/base/lock.h"

/* Makes everything ready; the first call does the work. False when the OS does not give what is needed to
 * start; a later call tries again. Thread-safe. Allocates nothing through malloc. */
bool hak_init(void);

/* For fork.c. */
extern hak_lock hak_init_lock;

#endif
