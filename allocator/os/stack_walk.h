/* stack_walk.h: collects return addresses. Layer 1. The walk along frame pointers reads the stack through the
 * kernel, so broken frames cannot break it; it is async-signal-safe. */
#ifndef HAK_STACK_WALK_H
#define HAK_STACK_WALK_H

#include "allocator/base/base.h"

/* Walks from the frame pointer `frame` through functions that keep one. Returns the number of return addresses. */
unsigned hak_stack_walk(uintptr_t frame, uintptr_t *out, unsigned most);

/* From now on hak_stack_unwind uses libc's backtrace(3), which reads unwind tables and so sees functions
 * without frame pointers, too. Loads libc's unwinder now, which allocates; later calls do not. Where libc has
 * none (musl, static programs) the walk stays with frame pointers. */
void hak_stack_unwind_begin(void);

/* The calling thread's stack, from the function that called the allocator at `caller` on (0: not known); returns how
 * many. Allocates nothing itself; an unwinder that meets code made at run time may. Where it is the unwinder that
 * allocates, by frame pointers. No lock is held. */
unsigned hak_stack_unwind(uintptr_t caller, uintptr_t *out, unsigned most);

/* Called in a forked child. Goes back to frame pointers if threads that the child does not have were in the
 * unwinder. */
void hak_stack_unwind_fork_child(void);

#endif
