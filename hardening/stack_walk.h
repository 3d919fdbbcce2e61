/* stack_walk.h: return addresses, as far as frame pointers lead. The stack is read through the kernel, so broken frames
 * cannot break the walk. Async-signal-safe. */
#ifndef HAK_STACK_WALK_H
#define HAK_STACK_WALK_H

#include "allocator/base.h"

/* From the frame pointer on: those of functions that keep one. Returns how many. */
unsigned hak_stack_walk(uintptr_t frame, uintptr_t *out, unsigned most);

#endif
