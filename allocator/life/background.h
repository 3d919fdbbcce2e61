/* background.h: a thread of our own that gives unused memory back while no other thread calls
 * (HAKMEM_SS_BACKGROUND=1). Layer 5.
 *
 * The thread has no cache, allocates nothing, and blocks all signals but libc's own. It begins at the first
 * slow call after the library is loaded; in a forked child, at the child's first slow call. */
#ifndef HAK_BACKGROUND_H
#define HAK_BACKGROUND_H

#include "allocator/base/base.h"

/* From now on this process may create the thread: libc is ready for that. */
void hak_background_allow(void);

/* Creates the thread, unless it exists. It calls `pass` repeatedly; `pass` returns whether memory was given
 * back or used since the last call, and if not, the pauses grow. Creates no thread in a process of one thread
 * with raised privileges, because libc and the kernel treat a second thread as a change of such a program; none
 * in a process that filters its own system calls; none in a child that shares its parent's memory. No lock is
 * held. May allocate. */
void hak_background_begin(bool (*pass)(void));

/* False in a child that shares its parent's memory (vfork), in one that libc has not told of (_Fork), and before the
 * library is loaded. */
bool hak_background_is_own_process(void);

/* Called in a forked child, where the thread does not exist. */
void hak_background_forget(void);

#endif
