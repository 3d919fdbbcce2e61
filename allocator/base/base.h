/* base.h: the few words that every file of the core uses, and the sizes that everything is built on.
 * Layer 0. Owns no state. */
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
/* Of functions that look at memory whose owner may be writing to it: what they see is a hint, believed only when the
 * record of the slot says the same before and after. No matter for ThreadSanitizer. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define __SANITIZE_THREAD__ 1 /* as gcc calls it */
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
/* What one thread writes and others may read at the same time, as a hint or between two looks at what says that
 * nothing was written meanwhile: relaxed, which costs what a plain access costs. The writer's own reads need
 * nothing. */
#define HAK_SHOW(place, value) __atomic_store_n(&(place), value, __ATOMIC_RELAXED)
#define HAK_GLANCE(place)      __atomic_load_n(&(place), __ATOMIC_RELAXED)
/* On data that a fast path reads: it is in this very library, so no address of it has to be looked up. */
#define HAK_HIDDEN    __attribute__((visibility("hidden")))
#define HAK_CACHELINE 64
/* A function that programs call for every object: it begins at a cache line, so that its speed does not depend on
 * what the linker happens to put before it (docs/decisions/020). */
#define HAK_ENTRY __attribute__((aligned(HAK_CACHELINE)))
/* Of the function that this is inlined into: the address of the instruction after its call. */
#define HAK_CALLER ((uintptr_t)__builtin_return_address(0))

enum {
    HAK_KIB = 1024,
    HAK_MIB = 1024 * 1024,

    /* Every object is aligned to this many bytes: alignof(max_align_t) on the 64-bit Linux ABIs. */
    HAK_MIN_ALIGN = 16,

    /* The granule is the unit of the tag table: every slab and every large span begins on one. It is
     * the largest page size that a Linux kernel uses, so granules are whole pages everywhere. */
    HAK_GRANULE_SHIFT = 16,
    HAK_GRANULE = 1 << HAK_GRANULE_SHIFT,

    /* The unit in which slab memory comes from the OS; the size of a huge page on x86-64. */
    HAK_SUPERSLAB_SHIFT = 21,
    HAK_SUPERSLAB = 1 << HAK_SUPERSLAB_SHIFT,
    HAK_SUPERSLAB_GRANULES = HAK_SUPERSLAB / HAK_GRANULE,

    /* Partitions of the typed heap are 1 to this; 0 is what has no type. */
    HAK_PARTITIONS_MAX = 64,
};

/* Bits of a user-space address without opting in to larger ones by an mmap hint, which we never do. */
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
