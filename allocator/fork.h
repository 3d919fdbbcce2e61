/* fork.h: a fork finds every lock free and leaves every lock free, in parent and child. Layer 5. */
#ifndef HAK_FORK_H
#define HAK_FORK_H

/* Registers the handlers, once. */
void hak_fork_init(void);

#endif
