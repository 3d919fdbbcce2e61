/* alloc.h: the fast paths, inlined into every entry point that makes or ends an object. Layer 5.
 *
 * docs/FAST_PATH.md has the cost of the compiled code, per entry point and variant. */
#ifndef HAK_ALLOC_H
#define HAK_ALLOC_H

#include "allocator/cache/cache.h"
#include "allocator/pages/tag.h"
#include "allocator/policy.h"

/* The origin of an object of plain malloc. */
#define HAK_ORIGIN_PLAIN ((hak_origin){HAK_FAMILY_MALLOC, HAK_ALIGN_LOG2})

/* The slow path of hak_object_make: an empty bin, a large object, or the thread's first call. Returns NULL and
 * sets ENOMEM on failure. `caller`, here and everywhere, is the program's return address. The entry point
 * passes it on, because the function that asks may not be the last one on the stack. */
void *hak_object_make_slow(size_t size, hak_origin origin, uintptr_t caller);

/* As hak_object_make, for an origin that has a partition. */
void *hak_object_make_typed(size_t size, hak_origin origin, uintptr_t caller);

/* As hak_object_make, aligned to 2^origin.align_log2 bytes. */
void *hak_object_make_aligned(size_t size, hak_origin origin, uintptr_t caller);

/* As hak_object_make_aligned, for any alignment, with every byte zero. */
void *hak_object_make_zeroed(size_t size, hak_origin origin, uintptr_t caller);

/* Resizes a live object in place to `most` bytes, by the rules of realloc. If that fails and the object has
 * less than `size` bytes, tries `size`. Returns false when neither worked; the object is unchanged then. Stores
 * the old size in *had. `call` is the name of the call for a report. New bytes are not initialised. */
bool hak_object_resize(void *obj, size_t size, size_t most, const char *call, uintptr_t caller, size_t *had);

/* Resizes a live object to `size` bytes with an alignment of 2^origin.align_log2 bytes, in place or by a copy.
 * Returns NULL and sets ENOMEM on failure; the object is unchanged then. `call` and *had as above. */
void *hak_object_change(void *obj, size_t size, hak_origin origin, const char *call, uintptr_t caller,
                        size_t *had);

/* The slow path of hak_object_end: a full bin, a large object, NULL, or the thread's first call. Dies when
 * `obj` is not an object of ours. */
void hak_object_end_slow(void *obj, unsigned tag, hak_claim claim);

/* Returns the capacity of the object in bytes: its slot, or its pages. 0: not an object of ours. */
size_t hak_object_capacity(const void *obj, unsigned tag);

/* Pops the newest object of the class's bin; NULL when the bin is empty. Tells the policy which object is next. */
HAK_INLINE void *hak_object_pop(hak_cache *cache, unsigned cls) {
    void *obj = hak_cache_pop(cache, cls);
    if (HAK_LIKELY(obj != NULL))
        /* An atomic load would stay although the speed variant does not use it. Any value will do. */
        hak_policy_on_next(HAK_TSAN ? HAK_GLANCE(*cache->top[cls]) : *cache->top[cls]);
    return obj;
}

/* For sizes above those that have an entry per byte in the cache's table. */
HAK_INLINE void *hak_object_make_coarse(size_t size, size_t need, hak_origin origin, uintptr_t caller) {
    if (HAK_UNLIKELY(need > HAK_SLAB_SIZE_MAX))
        return hak_object_make_slow(size, origin, caller);
    unsigned cls = hak_class_of_coarse(need);
    void *obj = hak_object_pop(hak_cache_mine, cls);
    if (HAK_UNLIKELY(obj == NULL))
        return hak_object_make_slow(size, origin, caller);
    return hak_policy_on_alloc(obj, cls, size, origin, caller);
}

/* Allocates a live object of at least `size` bytes. Returns NULL and sets ENOMEM on failure. */
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
        __builtin_unreachable(); /* the table has no class for size 0, so the pop above failed */
    return hak_policy_on_alloc(obj, cls, size, origin, caller);
}

/* Frees the object. NULL needs no test of its own: its tag is "not ours", and the bin of that tag is always
 * full. */
HAK_INLINE void hak_object_end(void *obj, hak_claim claim) {
    unsigned tag;
    if (HAK_UNLIKELY(!hak_policy_on_free(&obj, &tag, claim)))
        return;
    if (HAK_UNLIKELY(!hak_cache_push(hak_cache_mine, obj, tag)))
        hak_object_end_slow(obj, tag, claim);
}

#endif
