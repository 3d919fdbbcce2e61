/* init.h: brings the allocator to life. Layer 5. */
#ifndef HAK_INIT_H
#define HAK_INIT_H

#include "allocator/base.h"

/* Makes everything ready; the first call does the work. False when the OS does not give what is needed to
 * start; a later call tries again. Thread-safe. Allocates nothing through malloc. */
bool hak_init(void);

/* For fork.c. */
void hak_init_lock_take(void);
void hak_init_lock_give(void);
void hak_init_lock_reset(void);
/* For dying.c. */
void hak_init_lock_break(unsigned *patience);

#endif
