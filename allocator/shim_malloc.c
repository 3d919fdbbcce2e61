/* shim_malloc.c: the C names under which programs call the allocator, as libc declares them. Layer 6.
 * Sources: C17 7.22.3, C23 7.24.3, POSIX.1-2017, malloc(3), mallinfo(3), mallopt(3), malloc_info(3), malloc_trim(3). */
#include "allocator/alloc.h"
#include "allocator/os.h"
#include "allocator/stats.h"
#include "include/hakmem.h"

#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>

#define EXPORT __attribute__((visibility("default"))) HAK_ENTRY

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
    return hak_reallocarray(obj, count, size);
}
EXPORT void free(void *obj) {
    hak_free(obj);
}
EXPORT void free_sized(void *obj, size_t size) {
    hak_free_sized(obj, size);
}
EXPORT void free_aligned_sized(void *obj, size_t alignment, size_t size) {
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

/* A page's alignment. */
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
    return hak_memalign(page, rounded);
}

/* Gone from glibc since 2.26, but old programs have it. */
EXPORT void cfree(void *obj) {
    hak_free(obj);
}

/* glibc's own names, for programs that wrap malloc and call these. */
EXPORT void *__libc_malloc(size_t size) {
    return hak_malloc(size);
}
EXPORT void *__libc_calloc(size_t count, size_t size) {
    return hak_calloc(count, size);
}
EXPORT void *__libc_realloc(void *obj, size_t size) {
    return hak_realloc(obj, size);
}
EXPORT void __libc_free(void *obj) {
    hak_free(obj);
}
EXPORT void *__libc_memalign(size_t alignment, size_t size) {
    return hak_memalign(alignment, size);
}
EXPORT void *__libc_valloc(size_t size) {
    return valloc(size);
}
EXPORT void *__libc_pvalloc(size_t size) {
    return pvalloc(size);
}

/* What the fields of glibc's mallinfo2 mean here; those about fast bins have no meaning and are 0. */
EXPORT struct mallinfo2 mallinfo2(void) {
    hak_stats now;
    hak_stats_read(&now);
    return (struct mallinfo2){
        .arena = now.live_slab_bytes + now.free_dirty_bytes,    /* from the OS, but for large objects */
        .hblkhd = now.live_large_bytes,                         /* large objects */
        .usmblks = now.committed_bytes,                         /* most that may have been resident */
        .uordblks = now.live_slab_bytes + now.live_large_bytes, /* in use */
        .fordblks = now.free_dirty_bytes,                       /* free, perhaps resident */
        .keepcost = now.free_dirty_bytes,                       /* what malloc_trim could give back */
    };
}

static int clamp(size_t n) {
    return n < INT_MAX ? (int)n : INT_MAX;
}

/* The old form, whose fields stop at INT_MAX. */
EXPORT struct mallinfo mallinfo(void) {
    struct mallinfo2 now = mallinfo2();
    return (struct mallinfo){
        .arena = clamp(now.arena),
        .hblkhd = clamp(now.hblkhd),
        .usmblks = clamp(now.usmblks),
        .uordblks = clamp(now.uordblks),
        .fordblks = clamp(now.fordblks),
        .keepcost = clamp(now.keepcost),
    };
}

static int write_info(FILE *stream) {
    hak_stats now;
    hak_stats_read(&now);
    int written =
        fprintf(stream,
                "<malloc version=\"hakmem-%s\" variant=\"%s\">\n"
                "<system type=\"current\" size=\"%zu\"/>\n"
                "<slabs size=\"%zu\" superslabs=\"%u\"/>\n"
                "<large size=\"%zu\"/>\n"
                "<free size=\"%zu\"/>\n"
                "<metadata size=\"%zu\"/>\n"
                "<objects count=\"%zu\"/>\n"
                "<caches count=\"%u\"/>\n"
                "</malloc>\n",
                hak_version(), hak_variant(), now.committed_bytes, now.live_slab_bytes, now.superslabs,
                now.live_large_bytes, now.free_dirty_bytes, now.metadata_bytes, now.live_objects, now.caches);
    return written < 0 ? -1 : 0;
}

/* No cancellation point, as none of these functions is. */
EXPORT int malloc_info(int options, FILE *stream) {
    if (options != 0) {
        errno = EINVAL;
        return -1;
    }
    int before, unused;
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
    int status = write_info(stream);
    (void)pthread_setcancelstate(before, &unused);
    return status;
}

EXPORT void malloc_stats(void) {
    hak_stats_report_memory();
}

/* glibc's parameters (M_MMAP_THRESHOLD, M_ARENA_MAX and so on) describe parts that are not here: accepted, without
 * effect. 1 is success, as programs expect that set them without a need. */
EXPORT int mallopt(int parameter, int value) {
    return (void)parameter, (void)value, 1;
}
