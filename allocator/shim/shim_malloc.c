/* shim_malloc.c: malloc and its relatives, as libc declares them. Layer 6. Sources: C17 7.22.3, C23 7.24.3,
 * POSIX.1-2017, malloc(3), mallopt(3), malloc_trim(3). */
#include "allocator/alloc.h"
#include "allocator/os/os.h"
#include "allocator/os/valgrind.h"
#include "include/hakmem.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>

/* Not inlined into each other: Valgrind must see a call of a function that it knows (valgrind.h). */
#define EXPORT __attribute__((visibility("default"))) HAK_ENTRY HAK_NOINLINE

EXPORT void *malloc(size_t size) {
    return hak_malloc(size);
}
EXPORT void *calloc(size_t count, size_t size) {
    return hak_calloc(count, size);
}
EXPORT void *realloc(void *obj, size_t size) {
    return hak_realloc(obj, size);
}
EXPORT void *reallocarray(void *obj, size_t count, size_t size) {
    size_t total;
    if (!hak_mul_checked(count, size, &total)) {
        errno = ENOMEM;
        return NULL;
    }
    return realloc(obj, total);
}
EXPORT void free(void *obj) {
    hak_free(obj);
}
EXPORT void free_sized(void *obj, size_t size) {
    if (HAK_UNLIKELY(hak_valgrind_runs()))
        free(obj);
    else
        hak_free_sized(obj, size);
}
EXPORT void free_aligned_sized(void *obj, size_t alignment, size_t size) {
    if (HAK_UNLIKELY(hak_valgrind_runs()))
        free(obj);
    else
        hak_free_aligned_sized(obj, alignment, size);
}
EXPORT void *aligned_alloc(size_t alignment, size_t size) {
    return hak_aligned_alloc(alignment, size);
}
EXPORT int posix_memalign(void **out, size_t alignment, size_t size) {
    return hak_posix_memalign(out, alignment, size);
}
EXPORT void *memalign(size_t alignment, size_t size) {
    return hak_memalign(alignment, size);
}
EXPORT size_t malloc_usable_size(void *obj) {
    return hak_usable_size(obj);
}
EXPORT int malloc_trim(size_t keep) {
    return hak_trim(keep);
}

/* An object aligned to a page. */
EXPORT void *valloc(size_t size) {
    return hak_memalign(hak_os_page, size);
}

/* The size is rounded up to whole pages as well. */
EXPORT void *pvalloc(size_t size) {
    size_t page = hak_os_page, rounded;
    if (!hak_align_up_checked(size, page, &rounded)) {
        errno = ENOMEM;
        return NULL;
    }
    return memalign(page, rounded);
}

/* Removed from glibc in 2.26, but old programs call it. */
EXPORT void cfree(void *obj) {
    hak_free(obj);
}

/* glibc's own names, for programs that wrap malloc and call these. */
EXPORT void *__libc_malloc(size_t size) {
    return malloc(size);
}
EXPORT void *__libc_calloc(size_t count, size_t size) {
    return calloc(count, size);
}
EXPORT void *__libc_realloc(void *obj, size_t size) {
    return realloc(obj, size);
}
EXPORT void __libc_free(void *obj) {
    free(obj);
}
EXPORT void *__libc_memalign(size_t alignment, size_t size) {
    return memalign(alignment, size);
}
EXPORT void *__libc_valloc(size_t size) {
    return valloc(size);
}
EXPORT void *__libc_pvalloc(size_t size) {
    return pvalloc(size);
}

/* Accepts glibc's parameters (M_MMAP_THRESHOLD, M_ARENA_MAX and so on) without an effect: they describe parts
 * that we do not have. Returns 1, success, because programs set them without a need and check the result. */
EXPORT int mallopt(int parameter, int value) {
    return (void)parameter, (void)value, 1;
}
