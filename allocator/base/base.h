/* base.h: macros that every file of the core uses, and the sizes on which everything is built. Layer 0. Owns no
 * state. */
#ifndef HAK_BASE_H
#define HAK_BASE_H

#if defined(__SIZEOF_POINTER__) && __SIZEOF_POINTER__ != 8
#error "hakmem is for 64-bit Linux"
#endif

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HAK_LIKELY(x)   __builtin_expect(!!(x), 1)
#define HAK_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define HAK_NOINLINE    __attribute__((noinline))
#define HAK_COLD        __attribute__((noinline, cold))
#define HAK_INLINE      static inline __attribute__((always_inline, unused))
/* For functions that read memory while its owner may write to it. What they read is a hint, which is used only
 * when the slot's record is the same before and after. ThreadSanitizer must not report these reads. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define __SANITIZE_THREAD__ 1 /* the name that gcc uses */
#endif
#endif
#ifdef __SANITIZE_THREAD__
#define HAK_TSAN        1
#define HAK_PEEKS       __attribute__((noinline, no_sanitize("thread"), unused))
#define HAK_PEEK_INLINE static HAK_PEEKS
#else
#define HAK_TSAN 0
#define HAK_PEEKS
#define HAK_PEEK_INLINE HAK_INLINE
#endif
/* HAK_SHOW writes a value that other threads may read at the same time with HAK_GLANCE. The readers use it as a
 * hint, or check afterwards that nothing was written meanwhile. Both are relaxed atomics, which cost what plain
 * accesses cost. The writing thread may read the value with a plain load. */
#define HAK_SHOW(place, value) __atomic_store_n(&(place), value, __ATOMIC_RELAXED)
#define HAK_GLANCE(place)      __atomic_load_n(&(place), __ATOMIC_RELAXED)
/* For data that a fast path reads: it lies in this library, so the compiler needs no address from a table. */
#define HAK_HIDDEN    __attribute__((visibility("hidden")))
#define HAK_CACHELINE 64
/* For functions that programs call for each object. They begin at a cache line, so that their speed does not
 * depend on what the linker places before them (docs/decisions/020). */
#define HAK_ENTRY __attribute__((aligned(HAK_CACHELINE)))
/* The return address of the function into which this is inlined: its call site in the program. */
#define HAK_CALLER ((uintptr_t)__builtin_return_address(0))

enum {
    HAK_KIB = 1024,
    HAK_MIB = 1024 * 1024,

    /* Every object is aligned to this many bytes: alignof(max_align_t) on the 64-bit Linux ABIs. */
    HAK_MIN_ALIGN = 16,

    /* The unit of the tag table: every slab and every large span begins at a granule. 64 KiB is the largest
     * page size of Linux, so a granule is a whole number of pages on every machine. */
    HAK_GRANULE_SHIFT = 16,
    HAK_GRANULE = 1 << HAK_GRANULE_SHIFT,

    /* The unit in which slab memory comes from the OS; the size of a huge page on x86-64. */
    HAK_SUPERSLAB_SHIFT = 21,
    HAK_SUPERSLAB = 1 << HAK_SUPERSLAB_SHIFT,
    HAK_SUPERSLAB_GRANULES = HAK_SUPERSLAB / HAK_GRANULE,

    /* Partitions of the typed heap are 1 to this number. 0 stands for objects without a type. */
    HAK_PARTITIONS_MAX = 64,
};

/* Bits of a user-space address. Larger addresses need an mmap hint above 47 bits, which we never give. */
#if defined(__x86_64__)
enum { HAK_ADDRESS_BITS = 47 };
#else
enum { HAK_ADDRESS_BITS = 48 };
#endif

#ifdef HAK_DEBUG
enum { HAK_DEBUG_BUILD = 1 };
#else
enum { HAK_DEBUG_BUILD = 0 };
#endif

#endif
