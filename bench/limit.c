/* limit.c: the limit allocator: how fast a general allocator could be if it left out all of its duties.
 *
 * One last-in first-out list per size class, links inside the freed objects, one flat byte per 64 KiB that gives the
 * class of an address. No checks, no locks, no threads, no memory is ever given back, and calloc and realloc do only
 * what programs need to start. It serves as the 100 % line of the single-threaded workloads; do not use it for
 * anything else.
 *
 * Classes: 16-byte steps to 1024, four per doubling above; a class above 16 KiB takes a run of its own whose every
 * 64 KiB is tagged. */
#define _GNU_SOURCE
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#define LIMIT_API __attribute__((visibility("default")))

enum {
    REGION_SHIFT = 35, /* 32 GiB of address space, touched as needed */
    PIECE_SHIFT = 16,
    FINE_MAX = 1024,
    FINE_CLASSES = FINE_MAX / 16,
    CLASSES = FINE_CLASSES + 4 * 28,
    TABLE_MAX = 32768, /* sizes to here find their class with one load */
};

typedef struct link {
    struct link *next;
} link;

static link *lists[CLASSES + 1];
static uint8_t class_of_size[TABLE_MAX / 16 + 1];
static uint8_t class_of_piece[1u << (REGION_SHIFT - PIECE_SHIFT)];
static int started;
static size_t region_used;

/* A constant address, so that this allocator does not look up its region either. */
#define REGION ((char *)(1ul << 40))

static inline uint8_t *piece_class(const void *obj) {
    return &class_of_piece[((uintptr_t)obj >> PIECE_SHIFT) & ((1u << (REGION_SHIFT - PIECE_SHIFT)) - 1)];
}

static unsigned class_slow(size_t size) {
    if (size <= FINE_MAX)
        return size ? (unsigned)((size - 1) / 16) : 0;
    unsigned doubling = 63 - (unsigned)__builtin_clzl(size - 1);
    unsigned quarter = (unsigned)((size - 1) >> (doubling - 2)) & 3;
    return FINE_CLASSES + 4 * (doubling - 10) + quarter;
}

static size_t size_of_class(unsigned cls) {
    if (cls < FINE_CLASSES)
        return 16 * ((size_t)cls + 1);
    unsigned coarse = cls - FINE_CLASSES;
    return (size_t)(5 + coarse % 4) << (8 + coarse / 4);
}

static int start(void) {
    void *mapped = mmap(REGION, 1ul << REGION_SHIFT, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    if (mapped != REGION)
        return 0;
    started = 1;
    for (size_t i = 0; i <= TABLE_MAX / 16; i++)
        class_of_size[i] = (uint8_t)class_slow(i * 16);
    return 1;
}

/* A whole number of pieces of address space, all tagged with `cls`. */
static char *take_pieces(size_t bytes, unsigned cls) {
    size_t piece = 1u << PIECE_SHIFT;
    size_t rounded = (bytes + piece - 1) & ~(piece - 1);
    if ((!started && !start()) || rounded > (1ul << REGION_SHIFT) - region_used)
        return NULL;
    char *run = REGION + region_used;
    memset(piece_class(run), (int)cls, rounded >> PIECE_SHIFT);
    region_used += rounded;
    return run;
}

static __attribute__((noinline)) void *malloc_slow(size_t size) {
    if (size > PTRDIFF_MAX >> 4) {
        errno = ENOMEM;
        return NULL;
    }
    unsigned cls = class_slow(size);
    link *first = lists[cls];
    if (first) {
        lists[cls] = first->next;
        return first;
    }
    size_t slot = size_of_class(cls), piece = 1u << PIECE_SHIFT;
    char *run = take_pieces(slot, cls);
    if (!run) {
        errno = ENOMEM;
        return NULL;
    }
    for (size_t at = slot; at + slot <= piece; at += slot) {
        ((link *)(run + at))->next = lists[cls];
        lists[cls] = (link *)(run + at);
    }
    return run;
}

LIMIT_API void *malloc(size_t size) {
    if (__builtin_expect(size > TABLE_MAX, 0))
        return malloc_slow(size);
    unsigned cls = class_of_size[(size + 15) >> 4];
    link *first = lists[cls];
    if (__builtin_expect(!first, 0))
        return malloc_slow(size);
    lists[cls] = first->next;
    return first;
}

LIMIT_API void free(void *obj) {
    if (!obj)
        return;
    unsigned cls = *piece_class(obj);
    ((link *)obj)->next = lists[cls];
    lists[cls] = obj;
}

LIMIT_API size_t malloc_usable_size(void *obj) {
    return obj ? size_of_class(*piece_class(obj)) : 0;
}

LIMIT_API void *calloc(size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes))
        return NULL;
    void *obj = malloc(bytes);
    return obj ? memset(obj, 0, bytes) : NULL;
}

LIMIT_API void *realloc(void *obj, size_t size) {
    size_t had = malloc_usable_size(obj);
    if (obj && size && size <= had)
        return obj;
    void *moved = size || !obj ? malloc(size) : NULL;
    if (moved && obj)
        memcpy(moved, obj, had);
    if (moved || !size)
        free(obj);
    return moved;
}

/* Aligned objects: a run of their own, so that the alignment holds up to 64 KiB. */
LIMIT_API void *aligned_alloc(size_t alignment, size_t size) {
    if (alignment <= 16)
        return malloc(size);
    size_t least = alignment > size ? alignment : size;
    return malloc(least > TABLE_MAX ? least : (size_t)1 << (64 - __builtin_clzl(least - 1)));
}

LIMIT_API void *memalign(size_t alignment, size_t size) {
    return aligned_alloc(alignment, size);
}

LIMIT_API int posix_memalign(void **out, size_t alignment, size_t size) {
    void *obj = aligned_alloc(alignment, size);
    if (obj)
        *out = obj;
    return obj ? 0 : ENOMEM;
}
