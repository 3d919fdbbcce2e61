/* shim_early.c: malloc before the first thread's TLS is what it should be. Layer 6. In the shared objects that are
 * loaded before libc, and in archives.
 *
 * The dynamic linker relocates all libraries and then the program, whose IFUNC resolvers may allocate: libc's malloc
 * works by then. TLS is zeros still: its first contents have addresses in them, so they are copied when all is
 * relocated. A resolver of our own sees to it that the thread has the static cache of threads that have ended: what it
 * allocates comes straight from the depots, and nothing is lost when the copy is made. Options are the default ones
 * then, for the environment is not there yet. Source: glibc's rtld.c, dl_main.
 *
 * In a shared object ours is the only one, and runs before those of the program: shim_loaded.c. In a program with the
 * archive in it ours is one of the program's own: shim_first.c. In a static program resolvers run before there is any
 * TLS, and libc's own malloc faults as ours does. */
#include "allocator/cache/cache.h"

#if defined(__GLIBC__) /* musl has no resolvers */

typedef void early(void);

/* In static programs only. */
#pragma weak __libc_setup_tls
extern const char __libc_setup_tls[];

static void nothing(void) {}

/* A call of its own: compilers read TLS before they ask whether it is to be read. */
static HAK_COLD void forsake(void) {
    if (hak_cache_mine == NULL)
        hak_cache_forsake();
}

/* Calls nothing outside: that may be relocated later. */
static early *resolve(void) {
    if (__libc_setup_tls == NULL)
        forsake();
    return nothing;
}

/* A reference to it is what makes the relocation. Not static: clang 19 would show it to all (-flto=thin). */
HAK_HIDDEN early hak_early_prepared __attribute__((ifunc("resolve")));

#endif
