/* aligned.c: the calls that take an alignment. */
#include "allocator/alloc.h"
#include "include/hakmem.h"

#include <errno.h>

/* `align` is a power of two. */
static void *make(size_t align, size_t size, uintptr_t caller) {
    if (align <= HAK_MIN_ALIGN)
        return hak_object_make(size, HAK_ORIGIN_PLAIN, caller);
    return hak_object_make_aligned(size, (hak_origin){HAK_FAMILY_MALLOC, hak_log2(align)}, caller);
}

void *hak_aligned_alloc(size_t alignment, size_t size) {
    if (!hak_is_pow2(alignment)) {
        errno = EINVAL;
        return NULL;
    }
    return make(alignment, size, HAK_CALLER);
}

void *hak_memalign(size_t alignment, size_t size) {
    alignment = hak_round_to_pow2(alignment);
    if (alignment == 0) {
        errno = EINVAL;
        return NULL;
    }
    return make(alignment, size, HAK_CALLER);
}

int hak_posix_memalign(void **out, size_t alignment, size_t size) {
    if (!hak_is_pow2(alignment) || alignment % sizeof(void *) != 0)
        return EINVAL;
    int saved = errno;
    void *obj = make(alignment, size, HAK_CALLER);
    errno = saved;
    if (obj == NULL)
        return ENOMEM;
    *out = obj;
    return 0;
}

void hak_free_aligned_sized(void *obj, size_t alignment, size_t size) {
    hak_claim claim = HAK_CLAIM("free_aligned_sized", HAK_FAMILY_MALLOC);
    claim.size = hak_claim_size(size);
    claim.align_log2 = hak_is_pow2(alignment) ? hak_log2(alignment) : HAK_CLAIM_WRONG;
    hak_object_end(obj, claim);
}
