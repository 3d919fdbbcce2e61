/* hakmem.h: the public interface of hakmem, a memory allocator for Linux.
 *
 * Everything here is thread-safe unless it says otherwise, and nothing here is async-signal-safe, as
 * malloc is not (POSIX.1-2017, 2.4.3). All sizes are bytes. An object is aligned to 16 bytes (alignof(max_align_t))
 * unless a larger alignment was asked for. Both variants have the same interface; hak_variant() tells
 * them apart. Sizes above PTRDIFF_MAX are refused with ENOMEM.
 *
 * A call that finds an error (a double free, say) ends the process with one line on stderr that
 * begins `hakmem: ` and names it; see docs/THREATS.md for the errors that each variant recognises.
 */
#ifndef HAKMEM_H
#define HAKMEM_H

#include <stddef.h>
#include <stdint.h>

#define HAK_VERSION_MAJOR  0
#define HAK_VERSION_MINOR  1
#define HAK_VERSION_PATCH  0
#define HAK_VERSION_STRING "0.1.0"

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define HAK_API             __attribute__((visibility("default")))
#define HAK_ALLOC_SIZE(...) __attribute__((alloc_size(__VA_ARGS__)))
#define HAK_MALLOC          __attribute__((malloc, warn_unused_result))
#else
#define HAK_API
#define HAK_ALLOC_SIZE(...)
#define HAK_MALLOC
#endif

/* An object of at least `size` bytes, uninitialised; NULL and ENOMEM when there is no memory. Size 0
 * gives a unique pointer that may only be freed (C17 7.22.3). */
HAK_API void *hak_malloc(size_t size) HAK_MALLOC HAK_ALLOC_SIZE(1);

/* As hak_malloc(count * size) with every byte zero; NULL and ENOMEM also when the product overflows. */
HAK_API void *hak_calloc(size_t count, size_t size) HAK_MALLOC HAK_ALLOC_SIZE(1, 2);

/* Resizes `obj` and keeps its first min(old, new) bytes; it may move. NULL `obj`: as hak_malloc. Size 0
 * frees `obj` and returns NULL, as glibc does. On NULL and ENOMEM `obj` is untouched and still live. */
HAK_API void *hak_realloc(void *obj, size_t size) HAK_ALLOC_SIZE(2);

/* hak_realloc(obj, count * size), checked for overflow (NULL, ENOMEM, `obj` untouched). POSIX.1-2024. */
HAK_API void *hak_reallocarray(void *obj, size_t count, size_t size) HAK_ALLOC_SIZE(2, 3);

/* Ends the life of `obj`. NULL does nothing. errno is kept (POSIX.1-2024). */
HAK_API void hak_free(void *obj);

/* As hak_free, where `size` is what was asked for (C23 7.24.3.4). The hardened variant checks it. */
HAK_API void hak_free_sized(void *obj, size_t size);

/* As hak_free, for an object of hak_aligned_alloc with these very values (C23 7.24.3.5). */
HAK_API void hak_free_aligned_sized(void *obj, size_t alignment, size_t size);

/* An object aligned to `alignment`, a power of two of any size; NULL and EINVAL otherwise, NULL and
 * ENOMEM when there is no memory. `size` need not be a multiple of it (C23 7.24.3.1). */
HAK_API void *hak_aligned_alloc(size_t alignment, size_t size) HAK_MALLOC HAK_ALLOC_SIZE(2);

/* As hak_aligned_alloc, but an alignment that is no power of two is rounded up to one, as glibc does. */
HAK_API void *hak_memalign(size_t alignment, size_t size) HAK_MALLOC HAK_ALLOC_SIZE(2);

/* Stores an aligned object in *out and returns 0; else returns EINVAL (alignment no power of two or
 * no multiple of sizeof(void *)) or ENOMEM, *out and errno untouched (POSIX.1-2017). */
HAK_API int hak_posix_memalign(void **out, size_t alignment, size_t size);

/* The typed heap (docs/TYPED_HEAP.md). As the calls without `_token`, in every other respect: sizes, alignment, errors,
 * and which calls resize and end the object (hak_free, hak_realloc, free and so on). `token` says which type of object
 * it is: any number, the same for objects of the same type; HAK_TYPE_TOKEN gives one. In the hardened variant the
 * address of an object of one token is never that of an object of another, but for tokens that share a partition by a
 * secret hash; and tokens of the upper half (at least SIZE_MAX / 2 + 1: types with pointers) never share one with those
 * of the lower half (data). 0: not known, as without a token. The speed variant takes tokens, and they have no effect.
 * hak_realloc_token: an object that moves is one of the token's from then on; one that stays is not. hak_realloc keeps
 * what the object is. */
HAK_API void *hak_malloc_token(size_t size, size_t token) HAK_MALLOC HAK_ALLOC_SIZE(1);
HAK_API void *hak_calloc_token(size_t count, size_t size, size_t token) HAK_MALLOC HAK_ALLOC_SIZE(1, 2);
HAK_API void *hak_realloc_token(void *obj, size_t size, size_t token) HAK_ALLOC_SIZE(2);
HAK_API void *hak_reallocarray_token(void *obj, size_t count, size_t size, size_t token) HAK_ALLOC_SIZE(2, 3);
HAK_API void *hak_aligned_alloc_token(size_t alignment, size_t size, size_t token) HAK_MALLOC
    HAK_ALLOC_SIZE(2);
HAK_API void *hak_memalign_token(size_t alignment, size_t size, size_t token) HAK_MALLOC HAK_ALLOC_SIZE(2);
HAK_API int hak_posix_memalign_token(void **out, size_t alignment, size_t size, size_t token);

/* 1: the compiler knows tokens itself (clang 22), and HAK_TYPE_TOKEN gives those that it gives to malloc. */
#if defined(__has_builtin)
#if __has_builtin(__builtin_infer_alloc_token)
#define HAK_INFERS_TOKENS 1
#endif
#endif
#ifndef HAK_INFERS_TOKENS
#define HAK_INFERS_TOKENS 0
#endif

/* A type's token, a constant where optimisation is on. Without such a compiler: a hash of the type's name as it is
 * written here (its first 32 characters and its length) and of its size, so one type should be written in one way;
 * numbers and characters are data, and every other type counts as one with pointers. HAK_DATA_TOKEN is for types that
 * have none. C11; in C++ see hakmem.hpp. */
#if HAK_INFERS_TOKENS
#define HAK_TYPE_TOKEN(type) __builtin_infer_alloc_token(sizeof(type))
#else
#define HAK_TYPE_TOKEN(type) (HAK_DATA_TOKEN(type) | (size_t)!HAK_IS_NUMBER(type) << 63)
#endif
#define HAK_DATA_TOKEN(type)                                                                                 \
    ((HAK_NAME_HASH(HAK_PADDED(type), sizeof(#type) * 31 + sizeof(type)) >> 1) | (size_t)1 << 40)
#define HAK_IS_NUMBER(type)                                                                                  \
    _Generic(*(type *)0,                                                                                     \
        _Bool: 1,                                                                                            \
        char: 1,                                                                                             \
        signed char: 1,                                                                                      \
        unsigned char: 1,                                                                                    \
        short: 1,                                                                                            \
        unsigned short: 1,                                                                                   \
        int: 1,                                                                                              \
        unsigned int: 1,                                                                                     \
        long: 1,                                                                                             \
        unsigned long: 1,                                                                                    \
        long long: 1,                                                                                        \
        unsigned long long: 1,                                                                               \
        float: 1,                                                                                            \
        double: 1,                                                                                           \
        long double: 1,                                                                                      \
        default: 0)
#define HAK_PADDED(type)       #type "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
#define HAK_HASH_1(s, i, hash) ((((hash) ^ (unsigned char)(s)[i])) * (size_t)1099511628211u)
#define HAK_HASH_4(s, i, hash)                                                                               \
    HAK_HASH_1(s, i, HAK_HASH_1(s, (i) + 1, HAK_HASH_1(s, (i) + 2, HAK_HASH_1(s, (i) + 3, hash))))
#define HAK_HASH_16(s, i, hash)                                                                              \
    HAK_HASH_4(s, i, HAK_HASH_4(s, (i) + 4, HAK_HASH_4(s, (i) + 8, HAK_HASH_4(s, (i) + 12, hash))))
#define HAK_NAME_HASH(s, hash) HAK_HASH_16(s, 0, HAK_HASH_16(s, 16, (size_t)14695981039346656037u ^ (hash)))

/* One object of the type, uninitialised; an array of `count`, zeroed; `obj` resized to `count`. NULL and ENOMEM. */
#define HAK_MALLOC_OF(type)        ((type *)hak_malloc_token(sizeof(type), HAK_TYPE_TOKEN(type)))
#define HAK_CALLOC_OF(type, count) ((type *)hak_calloc_token(count, sizeof(type), HAK_TYPE_TOKEN(type)))
#define HAK_REALLOC_OF(type, obj, count)                                                                     \
    ((type *)hak_reallocarray_token(obj, count, sizeof(type), HAK_TYPE_TOKEN(type)))

/* How many bytes of `obj` may be used: at least what was asked for; 0 for NULL. In the hardened
 * variant exactly what was asked for. */
HAK_API size_t hak_usable_size(const void *obj);

/* Gives free memory back to the OS until at most `keep` bytes of it stay resident; flushes the
 * calling thread's cache first. Returns 1 if anything was given back, else 0. */
HAK_API int hak_trim(size_t keep);

/* A snapshot of counters; they are read one by one, so they need not add up while other threads run. */
typedef struct hak_stats {
    uint64_t mapped_bytes;     /* address space reserved from the OS, metadata included */
    uint64_t committed_bytes;  /* of it, readable and writable */
    uint64_t live_slab_bytes;  /* in slabs that are in use: objects, cached objects and free slots */
    uint64_t live_large_bytes; /* in large objects, rounded to pages of the OS */
    uint64_t free_dirty_bytes; /* free, but perhaps resident: what hak_trim could give back */
    uint64_t metadata_bytes;   /* of committed_bytes, the allocator's own tables */
    uint64_t live_objects;     /* objects handed out by slabs to thread caches, and large objects */
    uint64_t operations;       /* objects that went through refill, flush and large calls, counted there */
    uint64_t os_mmap;          /* system calls made, by kind */
    uint64_t os_munmap;
    uint64_t os_madvise;
    uint64_t os_mprotect;
    uint32_t caches;     /* thread caches in use */
    uint32_t superslabs; /* superslabs in use */
} hak_stats;

/* Fills *out. Takes no lock, allocates nothing. */
HAK_API void hak_stats_read(hak_stats *out);

/* What the heap is made of, as one JSON object (docs/stats.schema.json), into `size` bytes at `out`, ended by a 0;
 * what does not fit is left out. Returns how many bytes it takes without the 0, so at least `size` when it was cut
 * (16 KiB are enough). Takes locks, allocates nothing. As hak_stats_read, it is inexact while other threads run. */
HAK_API size_t hak_stats_json(char *out, size_t size);

/* Appends the heap profile to the file `path`, which is made for this user only (docs/PROFILE.md has its form; `hakmem
 * profile` reads it). Returns the bytes that are allocated for each sample; 0, and nothing is written, where the
 * process has no profile: it is asked for at start, by HAKMEM_HEAP_PROFILE. Allocates nothing. */
HAK_API size_t hak_profile_save(const char *path);

/* "0.1.0": a static string. */
HAK_API const char *hak_version(void);

/* "speed" or "hardened": a static string. */
HAK_API const char *hak_variant(void);

#ifdef __cplusplus
}
#endif

#endif /* HAKMEM_H */
