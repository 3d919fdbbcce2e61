/* shim_loaded.c: makes our IFUNC resolver (shim_early.c) run in a process with the shared object. Layer 6. Only
 * in the shared objects that are loaded before libc. In an archive, this call would move our resolver behind
 * the others (shim_first.c). Here, a pointer as in shim_first.c would crash lld 19 in its link-time
 * optimization. */
#include "allocator/base/base.h"

#if defined(__GLIBC__) /* musl has no resolvers */

typedef void early(void);
extern HAK_HIDDEN early hak_early_prepared;

__attribute__((constructor(101))) static void loaded(void) {
    hak_early_prepared();
}

#endif
