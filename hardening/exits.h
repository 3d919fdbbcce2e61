/* exits.h: the end of the process: what libc does after the last sweep (sweep.c).
 *
 * exit() ends with libc's own cleanup, which removes the buffers of all streams, even under threads that are
 * reading (glibc, _IO_unbuffer_all: it goes on without a lock that it does not get). Such a thread continues
 * with the length of the old buffer and the address of the new one, one byte inside the FILE, and reads up to 4
 * KiB past its end. This is no error of the program. So streams of libc are not sampled, and after the last
 * sweep a guard that libc's code touches is opened. */
#ifndef HAK_EXITS_H
#define HAK_EXITS_H

#include "allocator/os/os_process.h"

/* True after the last sweep, when only libc's cleanup is left. Set by sweep.c. */
extern HAK_HIDDEN _Atomic bool hak_exits_over;
HAK_INLINE bool hak_exits_begun(void) {
    return atomic_load_explicit(&hak_exits_over, memory_order_relaxed);
}

/* True when an object of `size` bytes that `caller` allocates may be a FILE of libc. */
bool hak_exits_stream(uintptr_t caller, size_t size);

/* For the handler of faults: true when libc's code has touched a guard after the last sweep; the guard is open
 * then. */
bool hak_exits_mend(const hak_fault *fault);

#endif
