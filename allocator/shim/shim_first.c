/* shim_first.c: makes our IFUNC resolver (shim_early.c) run before those of the program that has the archive in
 * it. Layer 6. In archives only.
 *
 * GNU ld sorts the relocations of resolvers by the address that each writes to. It puts the relocations for
 * calls of a resolver's function behind these. Our relocation writes to one of the lowest addresses. lld keeps
 * the order of its inputs, in which an archive comes last. */
#include "allocator/base/base.h"

#if defined(__GLIBC__) /* musl has no resolvers */

typedef void early(void);
extern HAK_HIDDEN early hak_early_prepared;

/* The start of the program calls it, too; it does nothing. */
__attribute__((section(".init_array"), used)) static early *const first_of_all = hak_early_prepared;

#endif
