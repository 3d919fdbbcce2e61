/* alloc.h: the fast paths, inlined into every entry point that makes or ends an object. Layer 5.
 *
 * The cost of what the compiler makes of them, per entry point and variant, stands in docs/FAST_PATH.md. */
#ifndef HAK_ALLOC_H
#define HAK_ALLOC_H

#include "allocator/cache/cache.h"
#include "allocator/pages/tag.h"
#include "allocator/policy.h"

/* An object as plain malloc makes them. */
#define HAK_ORIGIN_PLAIN ((hak_origin){HAK_FAMILY_MALLOC, HAK_ALIGN_LOG2})

/* The rest of hak_object_make: an empty bin, a large object, the first call of a thread. NULL and ENOMEM. `caller`
 * as everywhere: where the program asks from, which the function that asks here has to say: it may not be the last
 * one on the stack. */
void *hak_object_make_slow(size_t size, hak_origin origin, uintptr_t caller);

/* As hak_object_make, for an origin with a partition. */
void *hak_object_make_typed(size_t size, hak_origin origin, uintptr_t caller);

/* As hak_object_make, aligned to 2^origin.align_log2 bytes. */
void *hak_object_make_aligned(size_t size, hak_origin origin, uintptr_t caller);

/* The same for any alignment, with every byte zero. */
void *hak_object_make_zeroed(size_t size, hak_origin origin, uintptr_t caller);

/* The live object with `most` bytes, where it lies, as realloc does that; if that cannot be and it has less than
 * `size`, with `size`; false: it is as it was. *had is what it had. `call` is what a report says was called. What is
 * new of it has any contents. */
bool hak_object_resize(void *obj, size_t size, size_t most, const char *call, uintptr_t caller, size_t *had);

/* The same with one size, or a copy of it that is aligned to 2^origin.align_log2 bytes; NULL and ENOMEM, and it is
 * as it was. */
void *hak_object_change(void *obj, size_t size, hak_origin origin, const char *call, uintptr_t caller,
                        size_t *had);

/* The rest of hak_object_end: a full bin, a large object, NULL, the first call of a thread; or no object of ours:
 * dies. */
void hak_object_end_slow(void *obj, unsigned tag, hak_claim claim);

/* Bytes that the object has room for: its slot, or its pages. 0: not an object of ours. */
size_t hak_object_capacity(const void *obj, unsigned tag);

/* The newest object of the class's bin; NULL when it is empty. The policy hears of the one below it. */
HAK_INLINE void *hak_object_pop(hak_cache *cache, unsigned cls) {
    void *obj = hak_cache_pop(cache, cls);
    if (HAK_LIKELY(obj != NULL))
        hak_policy_on_next(*cache->top[cls]);
    return obj;
}

/* Beyond the sizes that have an entry per byte in the cache. */
HAK_INLINE void *hak_object_make_coarse(size_t size, size_t need, hak_origin origin, uintptr_t caller) {
    if (HAK_UNLIKELY(need > HAK_SLAB_SIZE_MAX))
        return hak_object_make_slow(size, origin, caller);
    unsigned cls = hak_class_of_coarse(need);
    void *obj = hak_object_pop(hak_cache_mine, cls);
    if (HAK_UNLIKELY(obj == NULL))
        return hak_object_make_slow(size, origin, caller);
    return hak_policy_on_alloc(obj, cls, size, origin, caller);
}

/* A live object of at least `size` bytes; NULL and ENOMEM. */
HAK_INLINE void *hak_object_make(size_t size, hak_origin origin, uintptr_t caller) {
    if (HAK_POLICY_PARTITIONS != 0 && origin.partition != 0)
        return hak_object_make_typed(size, origin, caller);
    if (HAK_UNLIKELY(size > HAK_FINE_MAX - HAK_POLICY_EXTRA))
        return hak_object_make_coarse(size, hak_policy_request(size), origin, caller);
    hak_cache *cache = hak_cache_mine;
    unsigned cls = cache->fine[size + HAK_POLICY_EXTRA];
    void *obj = hak_object_pop(cache, cls);
    if (HAK_UNLIKELY(obj == NULL))
        return hak_object_make_slow(size, origin, caller);
    if (HAK_POLICY_NOTHING_APART && size == 0)
        __builtin_unreachable(); /* the cache has no class for it, so that nobody asks again */
    return hak_policy_on_alloc(obj, cls, size, origin, caller);
}

/* Ends the object's life. NULL has the tag of what is not ours, whose bin is always full. */
HAK_INLINE void hak_object_end(void *obj, hak_claim claim) {
    unsigned tag;
    if (HAK_UNLIKELY(!hak_policy_on_free(&obj, &tag, claim)))
        return;
    if (HAK_UNLIKELY(!hak_cache_push(hak_cache_mine, obj, tag)))
        hak_object_end_slow(obj, tag, claim);
}

#endif
