/* hakmem.h: the public interface of hakmem, a memory allocator for Linux.
 *
 * Every call is thread-safe unless its comment says otherwise. No call is async-signal-safe, as malloc is not
 * (POSIX.1-2017, 2.4.3). All sizes are in bytes. An object is aligned to 16 bytes (alignof(max_align_t)) unless
 * the call asks for a larger alignment. Sizes above PTRDIFF_MAX are refused with ENOMEM. Both variants have the
 * same interface; hak_variant() tells them apart.
 *
 * A call that finds an error, a double free for example, ends the process. It writes one line to stderr that
 * begins with `hakmem: ` and names the error. docs/THREATS.md lists the errors that each variant detects.
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

/* Allocates an object of at least `size` bytes, uninitialised. Returns NULL and sets ENOMEM when there is no
 * memory. Size 0 gives a unique pointer that may only be freed (C17 7.22.3). */
HAK_API void *hak_malloc(size_t size) HAK_MALLOC HAK_ALLOC_SIZE(1);

/* As hak_malloc(count * size), with every byte zero. Also returns NULL and sets ENOMEM when the product
 * overflows. */
HAK_API void *hak_calloc(size_t count, size_t size) HAK_MALLOC HAK_ALLOC_SIZE(1, 2);

/* Resizes `obj` and keeps its first min(old, new) bytes. The object may move. With `obj` NULL: as hak_malloc.
 * With size 0: frees `obj` and returns NULL, as glibc does. When there is no memory: returns NULL, sets ENOMEM,
 * and `obj` stays live and unchanged. */
HAK_API void *hak_realloc(void *obj, size_t size) HAK_ALLOC_SIZE(2);

/* As hak_realloc(obj, count * size). When the product overflows: returns NULL, sets ENOMEM, and `obj` stays
 * live and unchanged. POSIX.1-2024. */
HAK_API void *hak_reallocarray(void *obj, size_t count, size_t size) HAK_ALLOC_SIZE(2, 3);

/* Frees `obj`. NULL is allowed and does nothing. Keeps errno (POSIX.1-2024). */
HAK_API void hak_free(void *obj);

/* As hak_free. `size` must be the size that the caller asked for (C23 7.24.3.4). The hardened variant checks
 * it. */
HAK_API void hak_free_sized(void *obj, size_t size);

/* As hak_free, for an object of hak_aligned_alloc(alignment, size) with the same two values (C23 7.24.3.5). The
 * hardened variant checks them. */
HAK_API void hak_free_aligned_sized(void *obj, size_t alignment, size_t size);

/* Allocates an object of at least `size` bytes, aligned to `alignment`, a power of two of any size. Returns
 * NULL and sets EINVAL when `alignment` is no power of two, ENOMEM when there is no memory. `size` need not be
 * a multiple of `alignment` (C23 7.24.3.1). */
HAK_API void *hak_aligned_alloc(size_t alignment, size_t size) HAK_MALLOC HAK_ALLOC_SIZE(2);

/* As hak_aligned_alloc, but rounds an alignment that is no power of two up to the next one, as glibc does. */
HAK_API void *hak_memalign(size_t alignment, size_t size) HAK_MALLOC HAK_ALLOC_SIZE(2);

/* Allocates an aligned object, stores it in *out and returns 0. Returns EINVAL when `alignment` is no power of
 * two or no multiple of sizeof(void *), ENOMEM when there is no memory; *out then stays unchanged. Never
 * changes errno (POSIX.1-2017). */
HAK_API int hak_posix_memalign(void **out, size_t alignment, size_t size);

/* The typed heap (docs/TYPED_HEAP.md). Each call does what the call without `_token` does: sizes, alignment and
 * errors are the same, and hak_free, hak_realloc, free and so on take its objects. `token` names the type of
 * the object. It may be any number that is the same for all objects of one type; HAK_TYPE_TOKEN gives one.
 * Token 0 means that the type is not known, as in a call without a token.
 *
 * In the hardened variant, an object of one token never gets an address that an object of another token had.
 * The exception are tokens that a secret hash puts into the same partition. Tokens of the upper half (SIZE_MAX
 * / 2 + 1 and above: types with pointers) never share a partition with tokens of the lower half (data). The
 * speed variant accepts tokens and ignores them.
 *
 * hak_realloc_token: an object that moves belongs to the new token; an object that stays in place keeps its
 * token. hak_realloc always keeps the token. */
HAK_API void *hak_malloc_token(size_t size, size_t token) HAK_MALLOC HAK_ALLOC_SIZE(1);
HAK_API void *hak_calloc_token(size_t count, size_t size, size_t token) HAK_MALLOC HAK_ALLOC_SIZE(1, 2);
HAK_API void *hak_realloc_token(void *obj, size_t size, size_t token) HAK_ALLOC_SIZE(2);
HAK_API void *hak_reallocarray_token(void *obj, size_t count, size_t size, size_t token) HAK_ALLOC_SIZE(2, 3);
HAK_API void *hak_aligned_alloc_token(size_t alignment, size_t size, size_t token) HAK_MALLOC
    HAK_ALLOC_SIZE(2);
HAK_API void *hak_memalign_token(size_t alignment, size_t size, size_t token) HAK_MALLOC HAK_ALLOC_SIZE(2);
HAK_API int hak_posix_memalign_token(void **out, size_t alignment, size_t size, size_t token);

/* 1 when the compiler has tokens itself (clang 22). HAK_TYPE_TOKEN then gives the tokens that the compiler
 * passes to malloc. */
#if defined(__has_builtin)
#if __has_builtin(__builtin_infer_alloc_token)
#define HAK_INFERS_TOKENS 1
#endif
#endif
#ifndef HAK_INFERS_TOKENS
#define HAK_INFERS_TOKENS 0
#endif

/* The token of a type; a constant when optimisation is on. Without compiler support the token is a hash of the
 * type's size and of its name as written here (the first 32 characters and the length), so write one type in
 * one way. Numbers and characters count as data; every other type counts as a type with pointers. Use
 * HAK_DATA_TOKEN for a type without pointers. Needs C11; for C++ see hakmem.hpp. */
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

/* HAK_MALLOC_OF allocates one object of the type, uninitialised. HAK_CALLOC_OF allocates a zeroed array of
 * `count` objects. HAK_REALLOC_OF resizes the array `obj` to `count` objects. All return NULL and set ENOMEM on
 * failure. */
#define HAK_MALLOC_OF(type)        ((type *)hak_malloc_token(sizeof(type), HAK_TYPE_TOKEN(type)))
#define HAK_CALLOC_OF(type, count) ((type *)hak_calloc_token(count, sizeof(type), HAK_TYPE_TOKEN(type)))
#define HAK_REALLOC_OF(type, obj, count)                                                                     \
    ((type *)hak_reallocarray_token(obj, count, sizeof(type), HAK_TYPE_TOKEN(type)))

/* Returns how many bytes of `obj` the program may use: at least the size that it asked for; in the hardened
 * variant exactly that size. Returns 0 for NULL. */
HAK_API size_t hak_usable_size(const void *obj);

/* Flushes the calling thread's cache, then gives free memory back to the OS until at most `keep` bytes of it
 * stay resident. Returns 1 if it gave any memory back, else 0. */
HAK_API int hak_trim(size_t keep);

/* A snapshot of counters. Each is read on its own, so while other threads run the numbers need not add up. */
typedef struct hak_stats {
    uint64_t mapped_bytes;     /* address space reserved from the OS, metadata included */
    uint64_t committed_bytes;  /* part of mapped_bytes that is readable and writable */
    uint64_t live_slab_bytes;  /* bytes of slabs in use: objects, cached objects, free slots */
    uint64_t live_large_bytes; /* bytes of live large objects, rounded up to pages of the OS */
    uint64_t free_dirty_bytes; /* free bytes that may be resident: what hak_trim can give back */
    uint64_t metadata_bytes;   /* part of committed_bytes that holds the allocator's own tables */
    uint64_t live_objects;     /* objects that slabs have handed to thread caches, and large objects */
    uint64_t operations;       /* objects that passed through a refill, a flush or a large call */
    uint64_t os_mmap;          /* number of system calls, by kind */
    uint64_t os_munmap;
    uint64_t os_madvise;
    uint64_t os_mprotect;
    uint32_t caches;     /* thread caches in use */
    uint32_t superslabs; /* superslabs in use */
} hak_stats;

/* Fills *out. Takes no lock and allocates nothing. */
HAK_API void hak_stats_read(hak_stats *out);

/* Writes the heap's figures as one JSON object (docs/stats.schema.json), ended by a 0, into the `size` bytes at
 * `out`. Text that does not fit is left out. Returns the length of the whole text without the 0: a result of
 * `size` or more means that the text was cut. 16 KiB are enough. Takes locks, allocates nothing. Like those of
 * hak_stats_read, the figures are inexact while other threads run. */
HAK_API size_t hak_stats_json(char *out, size_t size);

/* Appends the heap profile to the file `path`; a new file is readable by this user only. docs/PROFILE.md
 * describes the format, and `hakmem profile` reads it. Returns the sampling rate: the mean number of allocated
 * bytes per sample. Returns 0 and writes nothing when the process has no heap profile; HAKMEM_HEAP_PROFILE
 * turns it on at start. Allocates nothing. */
HAK_API size_t hak_profile_save(const char *path);

/* Returns the version, such as "0.1.0", as a static string. */
HAK_API const char *hak_version(void);

/* Returns "speed" or "hardened", as a static string. */
HAK_API const char *hak_variant(void);

#ifdef __cplusplus
}
#endif

#endif /* HAKMEM_H */
