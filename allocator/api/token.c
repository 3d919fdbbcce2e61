/* token.c: the allocation calls with a token for the type. See include/hakmem.h and docs/TYPED_HEAP.md. The
 * policy decides what a token means; the speed variant ignores it. */
#include "allocator/alloc.h"
#include "include/hakmem.h"

#include <errno.h>

static hak_origin origin_of(size_t token, size_t align) {
    return (hak_origin){HAK_FAMILY_MALLOC, hak_max(hak_log2(align), HAK_ALIGN_LOG2),
                        hak_policy_partition(token)};
}

static void *no_memory(void) {
    errno = ENOMEM;
    return NULL;
}

/* `align` is a power of two. */
static void *make(size_t align, size_t size, size_t token, uintptr_t caller) {
    hak_origin origin = origin_of(token, align);
    if (align <= HAK_MIN_ALIGN)
        return hak_object_make(size, origin, caller);
    return hak_object_make_aligned(size, origin, caller);
}

HAK_ENTRY void *hak_malloc_token(size_t size, size_t token) {
    return hak_object_make(size, origin_of(token, HAK_MIN_ALIGN), HAK_CALLER);
}

HAK_ENTRY void *hak_calloc_token(size_t count, size_t size, size_t token) {
    size_t total;
    if (!hak_mul_checked(count, size, &total))
        return no_memory();
    return hak_object_make_zeroed(total, origin_of(token, HAK_MIN_ALIGN), HAK_CALLER);
}

/* As hak_realloc: size 0 ends the object. */
static void *change(void *obj, size_t size, size_t token, uintptr_t caller) {
    size_t had;
    if (obj == NULL)
        return hak_object_make(size, origin_of(token, HAK_MIN_ALIGN), caller);
    if (size != 0)
        return hak_object_change(obj, size, origin_of(token, HAK_MIN_ALIGN), "realloc", caller, &had);
    return hak_realloc(obj, 0);
}

HAK_ENTRY void *hak_realloc_token(void *obj, size_t size, size_t token) {
    return change(obj, size, token, HAK_CALLER);
}

void *hak_reallocarray_token(void *obj, size_t count, size_t size, size_t token) {
    size_t total;
    if (!hak_mul_checked(count, size, &total))
        return no_memory();
    return change(obj, total, token, HAK_CALLER);
}

void *hak_aligned_alloc_token(size_t alignment, size_t size, size_t token) {
    if (!hak_is_pow2(alignment)) {
        errno = EINVAL;
        return NULL;
    }
    return make(alignment, size, token, HAK_CALLER);
}

void *hak_memalign_token(size_t alignment, size_t size, size_t token) {
    alignment = hak_round_to_pow2(alignment);
    if (alignment == 0) {
        errno = EINVAL;
        return NULL;
    }
    return make(alignment, size, token, HAK_CALLER);
}

int hak_posix_memalign_token(void **out, size_t alignment, size_t size, size_t token) {
    if (!hak_is_pow2(alignment) || alignment % sizeof(void *) != 0)
        return EINVAL;
    int saved = errno;
    void *obj = make(alignment, size, token, HAK_CALLER);
    errno = saved;
    if (obj == NULL)
        return ENOMEM;
    *out = obj;
    return 0;
}
