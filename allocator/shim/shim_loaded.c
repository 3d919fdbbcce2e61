/* shim_loaded.c: by which our IFUNC resolver (shim_early.c) runs in a process with the shared object. Layer 6. In the
 * shared objects that are loaded before libc only: in an archive a call would move our resolver behind the others
 * (shim_first.c); and of a pointer to it, as there, lld 19 dies in its link-time optimization. */
#include "allocator/base/base.h"

#if defined(__GLIBC__) /* musl has no resolvers */

typedef void early(void);
extern HAK_HIDDEN early hak_early_prepared;

__attribute__((constructor(101))) static void loaded(void) {
    hak_early_prepared();
}

#endif
