/* shim_first.c: by which our IFUNC resolver (shim_early.c) runs before those of the program that has the archive in it.
 * Layer 6. In archives only.
 *
 * GNU ld sorts the relocations of resolvers by the place that each writes to, and has what calls of a resolver's
 * function need behind these. Ours writes to one of the first places there are. lld keeps the order of its inputs, in
 * which an archive comes last. */
#include "allocator/base/base.h"

#if defined(__GLIBC__) /* musl has no resolvers */

typedef void early(void);
extern HAK_HIDDEN early hak_early_prepared;

/* It is called at start, too, and does nothing. */
__attribute__((section(".init_array"), used)) static early *const first_of_all = hak_early_prepared;

#endif
