/* shim_early.c: malloc before the TLS of the first thread has its first contents. Layer 6. In the shared
 * objects that are loaded before libc, and in archives.
 *
 * The dynamic linker relocates all libraries and then the program, whose IFUNC resolvers may allocate; libc's
 * malloc works by then. TLS still is all zeros: its first contents have addresses in them, so the linker copies
 * them after all relocations. A resolver of our own gives the thread the static cache of threads that have
 * ended. So all objects come straight from the depots, and the copy loses nothing. Options have their defaults,
 * because the environment is not there yet. Source: glibc's rtld.c, dl_main.
 *
 * In a shared object our resolver is the only one, and runs before those of the program: shim_loaded.c. In a
 * program that has the archive in it, our resolver is one of the program's own: shim_first.c. In a static
 * program resolvers run before there is any TLS; libc's own malloc faults there, and so does ours. */
#include "allocator/cache/cache.h"

#if defined(__GLIBC__) /* musl has no resolvers */

typedef void early(void);

/* In static programs only. */
#pragma weak __libc_setup_tls
extern const char __libc_setup_tls[];

static void nothing(void) {}

/* A function of its own: in the caller, compilers would read TLS before the condition that forbids it. */
static HAK_COLD void forsake(void) {
    if (hak_cache_mine == NULL)
        hak_cache_forsake();
}

/* Calls no function of another module: the linker may not have relocated it yet. */
static early *resolve(void) {
    if (__libc_setup_tls == NULL)
        forsake();
    return nothing;
}

/* A reference to it makes the relocation. Not static: clang 19 would export it (-flto=thin). */
HAK_HIDDEN early hak_early_prepared __attribute__((ifunc("resolve")));

#endif
