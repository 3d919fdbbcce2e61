/* shim_early.c: malloc before the first thread's TLS is what it should be. Layer 6. In the shared objects that are
 * loaded before libc.
 *
 * The dynamic linker relocates all libraries and then the program, whose IFUNC resolvers may allocate: libc's malloc
 * works by then. TLS is zeros still: its first contents have addresses in them, so they are copied when all is
 * relocated. A resolver of our own, the last of our relocations, sees to it that the thread has the static cache of
 * threads that have ended: what it allocates comes straight from the depots, and nothing is lost when the copy is
 * made. Options are the default ones then, for the environment is not there yet. Source: glibc's rtld.c, dl_main. */
#include "allocator/cache/cache.h"

#if defined(__GLIBC__) /* musl has no resolvers */

typedef void early(void);

static void nothing(void) {}

static early *resolve(void) {
    if (hak_cache_mine == NULL)
        hak_cache_forsake();
    return nothing;
}

/* The reference is what makes the relocation. Not static: clang 19 would show it to all (-flto=thin). */
HAK_HIDDEN early hak_early_prepared __attribute__((ifunc("resolve")));

__attribute__((constructor(101))) static void loaded(void) {
    hak_early_prepared();
}

#endif
