/* exits.h: the end of the process: what libc does after the last sweep, which sweep.c makes.
 *
 * exit() ends with libc's own cleanup, which takes the buffers of all streams away, also under threads that read just
 * now (glibc, _IO_unbuffer_all: a lock that it does not get it goes on without). Such a thread goes on with a length of
 * the old buffer and the address of the new one, one byte inside the FILE: it reads up to 4 KiB past the end of that.
 * So the streams that libc makes are not sampled, and after the last sweep a guard that libc's code runs into gives
 * way. */
#ifndef HAK_EXITS_H
#define HAK_EXITS_H

#include "allocator/os/os_process.h"

/* The last sweep is over: what is left of the process is libc's. Set by sweep.c. */
extern HAK_HIDDEN _Atomic bool hak_exits_over;
HAK_INLINE bool hak_exits_begun(void) {
    return atomic_load_explicit(&hak_exits_over, memory_order_relaxed);
}

/* True when an object of `size` bytes for which code at `caller` asks may be a FILE of libc's. */
bool hak_exits_stream(uintptr_t caller, size_t size);

/* True when libc's code, after the last sweep, has met a guard, which is none any more. For the handler of faults. */
bool hak_exits_mend(const hak_fault *fault);

#endif
