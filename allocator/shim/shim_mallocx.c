/* shim_mallocx.c: jemalloc's own calls for objects. Layer 6. A program may allocate with these and free with
 * free, or the other way round, so both must use one heap under a preload. Source: jemalloc(3). */
#include "allocator/alloc.h"
#include "allocator/life/init.h"
#include "allocator/os/os.h"
#include "allocator/os/valgrind.h"
#include "include/hakmem.h"
#include "include/hakmem_jemalloc.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

/* Weak: a program that contains the archive may have functions of these names. */
#define EXPORT __attribute__((visibility("default"), weak))

enum { LG_ALIGN_MASK = 63 };

static hak_origin origin_of(int flags) {
    return (hak_origin){HAK_FAMILY_MALLOC, hak_max((unsigned)flags & LG_ALIGN_MASK, HAK_ALIGN_LOG2)};
}

/* Zeroes the bytes of the object from `kept` to `size` if the flags ask for it. Returns the object. */
static void *cleared(void *obj, size_t kept, size_t size, int flags) {
    if (obj != NULL && (flags & MALLOCX_ZERO) != 0 && size > kept)
        memset((char *)obj + kept, 0, size - kept);
    return obj;
}

/* Under Valgrind objects are allocated and freed by functions that it knows (valgrind.h). */
static HAK_COLD void *make_watched(size_t size, int flags) {
    hak_origin origin = origin_of(flags);
    void *obj =
        origin.align_log2 == HAK_ALIGN_LOG2 ? malloc(size) : memalign((size_t)1 << origin.align_log2, size);
    return cleared(obj, 0, size, flags);
}

static HAK_COLD void *change_watched(void *obj, size_t size, int flags) {
    size_t old = malloc_usable_size(obj);
    void *made = make_watched(size, flags);
    if (made == NULL)
        return NULL;
    memcpy(made, obj, hak_min(old, size));
    free(obj);
    return made;
}

/* The size that an object of such a call has, whichever classes are split; 0: too large. */
static size_t room_of(size_t size, int flags) {
    if (HAK_POLICY_USABLE_IS_ASKED || size > PTRDIFF_MAX)
        return size <= PTRDIFF_MAX ? size : 0;
    unsigned cls = hak_class_aligned((size_t)1 << origin_of(flags).align_log2, hak_policy_request(size));
    size_t pages = hak_align_up(size, hak_os_page);
    return cls != 0 ? hak_classes[hak_class_whole(cls)].size : pages <= PTRDIFF_MAX ? pages : 0;
}

/* The size to request, so that the object has the size that nallocx returns. */
static size_t promised(size_t size, int flags) {
    size_t room = hak_init() ? room_of(size, flags) : 0;
    return room != 0 ? room : size;
}

/* Zeroes the whole object, not only the requested size. A later rallocx or xallocx may grow it in place and
 * must zero the new part, but cannot know how much of the old part the program has used. */
static HAK_NOINLINE void *make_zeroed(size_t size, int flags, uintptr_t caller) {
    return hak_object_make_zeroed(promised(size, flags), origin_of(flags), caller);
}

EXPORT void *mallocx(size_t size, int flags) {
    if (HAK_UNLIKELY(hak_valgrind_runs()))
        return make_watched(size, flags);
    if ((flags & MALLOCX_ZERO) != 0)
        return make_zeroed(size, flags, HAK_CALLER);
    hak_origin origin = origin_of(flags);
    size = promised(size, flags);
    if (origin.align_log2 == HAK_ALIGN_LOG2)
        return hak_object_make(size, HAK_ORIGIN_PLAIN, HAK_CALLER);
    return hak_object_make_aligned(size, origin, HAK_CALLER);
}

EXPORT void *rallocx(void *obj, size_t size, int flags) {
    if (HAK_UNLIKELY(hak_valgrind_runs()))
        return change_watched(obj, size, flags);
    size_t had;
    size = promised(size, flags);
    void *made = hak_object_change(obj, size, origin_of(flags), "rallocx", HAK_CALLER, &had);
    if ((flags & MALLOCX_ZERO) == 0 || made == NULL)
        return made;
    return cleared(made, made == obj ? had : hak_min(had, size), hak_usable_size(made), flags);
}

EXPORT size_t xallocx(void *obj, size_t size, size_t extra, int flags) {
    if (HAK_UNLIKELY(hak_valgrind_runs()))
        return malloc_usable_size(obj);
    size_t align = (size_t)1 << origin_of(flags).align_log2, had, most;
    if ((uintptr_t)obj % align != 0)
        return hak_usable_size(obj);
    if (!hak_add_checked(size, extra, &most))
        most = size;
    if (!hak_object_resize(obj, size, most, "xallocx", HAK_CALLER, &had))
        return had;
    size_t now = hak_usable_size(obj);
    (void)cleared(obj, had, now, flags);
    return now;
}

EXPORT size_t sallocx(const void *obj, int flags) {
    (void)flags;
    return malloc_usable_size((void *)obj);
}

EXPORT void dallocx(void *obj, int flags) {
    (void)flags;
    if (HAK_UNLIKELY(hak_valgrind_runs()))
        free(obj);
    else
        hak_object_end(obj, HAK_CLAIM("dallocx", HAK_FAMILY_MALLOC));
}

/* Does not check the alignment in the flags: every alignment that gives the same size is right. */
EXPORT void sdallocx(void *obj, size_t size, int flags) {
    (void)flags;
    if (HAK_UNLIKELY(hak_valgrind_runs())) {
        free(obj);
        return;
    }
    hak_claim claim = HAK_CLAIM("sdallocx", HAK_FAMILY_MALLOC);
    claim.size = hak_claim_size(size);
    claim.align_log2 = HAK_CLAIM_LOOSE;
    hak_object_end(obj, claim);
}

EXPORT size_t nallocx(size_t size, int flags) {
    return hak_init() ? room_of(size, flags) : 0;
}
