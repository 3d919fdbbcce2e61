/* hakmem_jemalloc.h: jemalloc's own calls, as both variants serve them. For programs that were written for jemalloc:
 * where hakmem stands before jemalloc (preloaded, or linked first), these calls and malloc's must have one heap. What
 * they mean is jemalloc(3); here stands what is different. Thread-safe, not async-signal-safe, as malloc.
 *
 * Arenas and thread caches that a program makes are numbers without an effect: all objects come from one heap. In
 * the hardened variant an object has exactly the bytes that were asked for: nallocx and sallocx say so, and sdallocx
 * wants that very size. What an argument is that jemalloc(3) calls undefined is undefined here, except size 0, which
 * gives an object of 0 bytes. */
#ifndef HAKMEM_JEMALLOC_H
#define HAKMEM_JEMALLOC_H

#include <stdbool.h>
#include <stddef.h>

/* Flags of the calls that end in x; they are added by `|`. */
#ifndef MALLOCX_LG_ALIGN
#define MALLOCX_LG_ALIGN(la) ((int)(la)) /* aligned to 1 << la bytes */
#define MALLOCX_ALIGN(a)                                                                                     \
    ((int)(sizeof(a) > 4 && (unsigned long)(a) >> 31 != 0                                                    \
               ? 31 + __builtin_ffsl((long)((unsigned long)(a) >> 31)) - 1                                   \
               : __builtin_ffs((int)(a)) - 1))       /* a: a power of two */
#define MALLOCX_ZERO        ((int)0x40)              /* every byte that is new is 0 */
#define MALLOCX_TCACHE(tc)  ((int)(((tc) + 2) << 8)) /* no effect, as the next two */
#define MALLOCX_TCACHE_NONE MALLOCX_TCACHE(-1)
#define MALLOCX_ARENA(a)    ((int)(((unsigned)(a) + 1) << 20))

#define MALLCTL_ARENAS_ALL       4096 /* instead of an arena's number */
#define MALLCTL_ARENAS_DESTROYED 4097
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* An object; NULL and ENOMEM when there is no memory. */
void *mallocx(size_t size, int flags);

/* The object with another size, moved or not; NULL and ENOMEM, and the object as it was. */
void *rallocx(void *obj, size_t size, int flags);

/* Resizes where the object lies, to size + extra if that can be, else to size if it has less, else not at all.
 * Returns what it has then. */
size_t xallocx(void *obj, size_t size, size_t extra, int flags);

/* What the object has. */
size_t sallocx(const void *obj, int flags);

/* Ends the object's life; sdallocx with its size. errno is kept. */
void dallocx(void *obj, int flags);
void sdallocx(void *obj, size_t size, int flags);

/* What an object of mallocx(size, flags) would have; 0: it cannot be had. */
size_t nallocx(size_t size, int flags);

/* Reads, writes or does what the name says: docs/JEMALLOC.md lists the names. 0, or ENOENT: no such name; EPERM: not
 * to be read, or not to be written; EINVAL: another size than the value's, or a value that cannot be; EAGAIN: no
 * more arenas; EFAULT: of arena 0. */
int mallctl(const char *name, void *old, size_t *old_len, void *new_value, size_t new_len);

/* The name as numbers, for mallctlbymib: the first *mib_len of them. 0 or ENOENT. */
int mallctlnametomib(const char *name, size_t *mib, size_t *mib_len);
int mallctlbymib(const size_t *mib, size_t mib_len, void *old, size_t *old_len, void *new_value,
                 size_t new_len);

/* Writes figures by write(opaque, text); NULL: by malloc_message, which is stderr unless the program sets it. With
 * "J" in opts: JSON. */
void malloc_stats_print(void (*write)(void *opaque, const char *text), void *opaque, const char *opts);
extern void (*malloc_message)(void *opaque, const char *text);

#ifdef __cplusplus
}
#endif

#endif /* HAKMEM_JEMALLOC_H */
