/* hakmem_jemalloc.h: jemalloc's own calls, for programs that were written for jemalloc. Where hakmem stands
 * before jemalloc (preloaded, or linked first), these calls and malloc's must use one heap. jemalloc(3) defines
 * the calls; the comments here say only what differs. Both variants have them. They are thread-safe, and like
 * malloc not async-signal-safe.
 *
 * Arenas and thread caches that a program creates are numbers without an effect: all objects come from one
 * heap. In the hardened variant an object has exactly the bytes that the program asked for: nallocx and sallocx
 * return that size, and sdallocx requires it. An argument that jemalloc(3) calls undefined is undefined here,
 * except size 0, which gives an object of 0 bytes. */
#ifndef HAKMEM_JEMALLOC_H
#define HAKMEM_JEMALLOC_H

#include <stdbool.h>
#include <stddef.h>

/* Flags of the calls whose names end in x. Combine them with `|`. */
#ifndef MALLOCX_LG_ALIGN
#define MALLOCX_LG_ALIGN(la) ((int)(la)) /* aligned to 1 << la bytes */
#define MALLOCX_ALIGN(a)                                                                                     \
    ((int)(sizeof(a) > 4 && (unsigned long)(a) >> 31 != 0                                                    \
               ? 31 + __builtin_ffsl((long)((unsigned long)(a) >> 31)) - 1                                   \
               : __builtin_ffs((int)(a)) - 1))       /* a: a power of two */
#define MALLOCX_ZERO        ((int)0x40)              /* new bytes are zero */
#define MALLOCX_TCACHE(tc)  ((int)(((tc) + 2) << 8)) /* no effect, like the next two */
#define MALLOCX_TCACHE_NONE MALLOCX_TCACHE(-1)
#define MALLOCX_ARENA(a)    ((int)(((unsigned)(a) + 1) << 20))

#define MALLCTL_ARENAS_ALL       4096 /* in place of an arena's number */
#define MALLCTL_ARENAS_DESTROYED 4097
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Allocates an object of `size` bytes. Returns NULL and sets ENOMEM when there is no memory. */
void *mallocx(size_t size, int flags);

/* Resizes the object; it may move. When there is no memory: returns NULL, sets ENOMEM, and the object is
 * unchanged. */
void *rallocx(void *obj, size_t size, int flags);

/* Resizes the object in place to size + extra bytes if possible. Otherwise, if it has less than `size` bytes,
 * to `size` if possible. Returns the size that the object has afterwards. */
size_t xallocx(void *obj, size_t size, size_t extra, int flags);

/* Returns the size that the object has, in bytes. */
size_t sallocx(const void *obj, int flags);

/* Frees the object. sdallocx also takes its size. Both keep errno. */
void dallocx(void *obj, int flags);
void sdallocx(void *obj, size_t size, int flags);

/* Returns the size that an object of mallocx(size, flags) would have; 0 when mallocx would fail. */
size_t nallocx(size_t size, int flags);

/* Reads or writes the value that `name` denotes, or runs the command. docs/JEMALLOC.md lists the names. Returns
 * 0 or an error: ENOENT, no such name; EPERM, the value cannot be read or cannot be written; EINVAL, a wrong
 * size or value; EAGAIN, no more arenas; EFAULT, not possible for arena 0. */
int mallctl(const char *name, void *old, size_t *old_len, void *new_value, size_t new_len);

/* Translates the name to numbers for mallctlbymib and stores the first *mib_len of them. Returns 0 or ENOENT. */
int mallctlnametomib(const char *name, size_t *mib, size_t *mib_len);
int mallctlbymib(const size_t *mib, size_t mib_len, void *old, size_t *old_len, void *new_value,
                 size_t new_len);

/* Writes statistics through write(opaque, text), or through malloc_message when `write` is NULL. malloc_message
 * writes to stderr unless the program sets it. `opts` that contains "J" asks for JSON. */
void malloc_stats_print(void (*write)(void *opaque, const char *text), void *opaque, const char *opts);
extern void (*malloc_message)(void *opaque, const char *text);

#ifdef __cplusplus
}
#endif

#endif /* HAKMEM_JEMALLOC_H */
