/* background.h: a thread of our own that gives back what idles while no other thread calls (HAKMEM_SS_BACKGROUND=1).
 * Layer 5.
 *
 * It has no cache, allocates nothing, takes no signal but libc's own, and begins with the first slow call after the
 * library is loaded; in the child of a fork with the child's first. */
#ifndef HAK_BACKGROUND_H
#define HAK_BACKGROUND_H

#include "allocator/base/base.h"

/* libc can make threads from now on, for this process. */
void hak_background_allow(void);

/* Begins the thread, unless there is one; `pass` is called again and again, and says whether anything has gone or
 * moved since the last time: if not, it is called less often. Not in a process of one thread that has raised
 * privileges: libc and the kernel treat a second one as a change of what such a program is. Nor in one that filters
 * its own system calls, nor in a child that shares its parent's memory. No lock is held. May allocate. */
void hak_background_begin(bool (*pass)(void));

/* In the child of a fork, which has no such thread. */
void hak_background_forget(void);

#endif
