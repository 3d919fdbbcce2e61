/* stack_walk.h: return addresses. By frame pointers the stack is read through the kernel, so broken frames cannot break
 * the walk; that is async-signal-safe. Layer 1. */
#ifndef HAK_STACK_WALK_H
#define HAK_STACK_WALK_H

#include "allocator/base/base.h"

/* From the frame pointer on: those of functions that keep one. Returns how many. */
unsigned hak_stack_walk(uintptr_t frame, uintptr_t *out, unsigned most);

/* libc's backtrace(3) from now on, which goes by unwind tables and so sees functions without frame pointers, too. It
 * loads its unwinder now, which allocates; later it does not. Where libc has none (musl, static programs) it stays at
 * frame pointers. */
void hak_stack_unwind_begin(void);

/* The calling thread's stack, from the function that called the allocator at `caller` on (0: not known); returns how
 * many. Allocates nothing itself; an unwinder that meets code made at run time may. Where it is the unwinder that
 * allocates, by frame pointers. No lock is held. */
unsigned hak_stack_unwind(uintptr_t caller, uintptr_t *out, unsigned most);

/* In the child of a fork: by frame pointers, if threads that it does not have were in the unwinder. */
void hak_stack_unwind_fork_child(void);

#endif
