/* alloc.c: malloc, calloc and free. Open this first; the fast paths are the two functions at the end of alloc.h.
 *
 *   hak_malloc(n)   class of n -> pop the thread's bin -> return         empty: hak_object_make_slow
 *   hak_free(p)     tag of p's address -> push onto the thread's bin     full:  hak_object_end_slow
 */
#include "allocator/alloc.h"

#include "allocator/api/usage.h"
#include "allocator/cache/ration.h"
#include "allocator/heap/large.h"
#include "allocator/heap/profile.h"
#include "allocator/life/idle.h"
#include "allocator/life/reclaim.h"
#include "allocator/life/thread.h"
#include "allocator/os/report.h"
#include "include/hakmem.h"

#include <errno.h>
#include <string.h>

/* calloc zeroes up to so many bytes itself. Above, it first looks for memory that is zero already, because the
 * program may not touch all pages of a larger object. */
enum { CALLOC_TOUCHES = 4 * HAK_KIB };

static HAK_COLD void *no_memory(void) {
    errno = ENOMEM;
    return NULL;
}

/* Returns NULL and keeps errno when there is no memory, as the make_* functions below do. */
static void *make_large(size_t size, size_t align, hak_origin origin, bool *zeroed) {
    size_t capacity;
    size_t need = hak_max(1, size); /* size 0 with a huge alignment is an object as well */
    void *obj = hak_large_take_typed(need, align, origin.partition, zeroed, &capacity);
    if (obj == NULL)
        return NULL;
    origin.untouched = origin.untouched && *zeroed;
    if (HAK_LIKELY(hak_policy_on_large_alloc(obj, size, capacity, origin))) {
        hak_usage_note_large();
        return obj;
    }
    (void)hak_large_give(obj);
    return NULL;
}

/* The thread's cache for the origin's partition; NULL: the thread has none yet. */
static hak_cache *cache_for(hak_origin origin) {
    return HAK_POLICY_PARTITIONS == 0 || origin.partition == 0 ? hak_cache_mine
                                                               : hak_cache_of(origin.partition);
}

static void *refill_for(hak_origin origin, unsigned cls) {
    return HAK_POLICY_PARTITIONS == 0 || origin.partition == 0
               ? hak_cache_refill_slow(cls)
               : hak_cache_refill_typed(origin.partition, cls);
}

static void *make_of_class(unsigned cls, size_t size, hak_origin origin, uintptr_t caller) {
    hak_cache *cache = cache_for(origin);
    void *obj = cache != NULL ? hak_cache_pop(cache, cls) : NULL;
    if (obj == NULL) {
        hak_idle_look();
        obj = refill_for(origin, cls);
        hak_usage_note_arena();
    }
    return obj == NULL ? NULL : hak_policy_on_alloc(obj, cls, size, origin, caller);
}

/* Allocates a sampled object, which has a span of its own. Objects of 0 bytes are not sampled, because a
 * variant may treat them apart. NULL: no sample is due, or there is no memory for one. */
static void *make_sampled(unsigned cls, size_t size, size_t align, hak_origin origin, uintptr_t caller,
                          bool *zeroed) {
    if (size == 0 || !hak_ration_due(cls, size))
        return NULL;
    void *obj = make_large(size, align, origin, zeroed);
    if (obj == NULL)
        return NULL;
    hak_ration_busy(true);
    hak_profile_made(obj, size, cls, caller);
    hak_ration_busy(false);
    return obj;
}

/* As make, when the heap profile is on. */
static HAK_NOINLINE void *make_profiled(unsigned cls, size_t size, size_t align, hak_origin origin,
                                        uintptr_t caller, bool *zeroed) {
    bool typed =
        HAK_POLICY_PARTITIONS != 0 && origin.partition != 0; /* caches of partitions have no rations */
    void *obj = typed ? NULL : hak_ration_pop(cls);
    if (HAK_LIKELY(obj != NULL))
        return hak_policy_on_alloc(obj, cls, size, origin, caller);
    obj = make_sampled(cls, size, align, origin, caller, zeroed);
    if (obj != NULL)
        return obj;
    if (cls == 0)
        return make_large(size, align, origin, zeroed);
    obj = make_of_class(cls, size, origin, caller);
    if (!typed)
        hak_ration_fill(cls);
    return obj;
}

/* Allocates an object of the class, or a large object when `cls` is 0. */
static void *make(unsigned cls, size_t size, size_t align, hak_origin origin, uintptr_t caller,
                  bool *zeroed) {
    if (HAK_UNLIKELY(hak_profile_rate != 0))
        return make_profiled(cls, size, align, origin, caller, zeroed);
    return cls != 0 ? make_of_class(cls, size, origin, caller) : make_large(size, align, origin, zeroed);
}

/* Before the call fails, gives back memory that is kept for reuse: any of it, of whatever size, may be in the
 * way. */
static void *make_or_reclaim(unsigned cls, size_t size, size_t align, hak_origin origin, uintptr_t caller,
                             bool *zeroed) {
    void *obj = make(cls, size, align, origin, caller, zeroed);
    for (hak_reclaim how = HAK_RECLAIM_IDLE; HAK_UNLIKELY(obj == NULL) && how < HAK_RECLAIMS; how++)
        if (hak_reclaim_memory(size, how))
            obj = make(cls, size, align, origin, caller, zeroed);
    return obj != NULL ? obj : no_memory();
}

/* Chooses the partition of an untyped object by its call site, if the policy wants that. */
HAK_INLINE hak_origin placed(hak_origin origin, uintptr_t caller) {
    if (origin.partition == 0)
        origin.partition = hak_policy_partition_of_site(caller);
    return origin;
}

/* malloc ends in a jump to this function, so the return address here is malloc's caller. malloc does not pass
 * the caller: loading it would cost an instruction on each call. */
HAK_NOINLINE void *hak_object_make_slow(size_t size, hak_origin origin, uintptr_t caller) {
    if (!hak_thread_begin())
        return no_memory();
    if (!HAK_POLICY_ASKS_CALLER)
        caller = HAK_CALLER;
    origin = placed(origin, caller);
    size_t need = hak_policy_request(size);
    unsigned cls = need <= HAK_SLAB_SIZE_MAX ? hak_class_of(need) : 0;
    return make_or_reclaim(cls, size, HAK_MIN_ALIGN, origin, caller, NULL);
}

void *hak_object_make_typed(size_t size, hak_origin origin, uintptr_t caller) {
    size_t need = hak_policy_request(size);
    hak_cache *cache = hak_cache_of(origin.partition);
    if (HAK_UNLIKELY(cache == NULL || need > HAK_SLAB_SIZE_MAX || hak_profile_rate != 0))
        return hak_object_make_slow(size, origin, caller);
    unsigned cls = hak_class_of(need);
    void *obj = hak_object_pop(cache, cls);
    if (HAK_UNLIKELY(obj == NULL))
        return hak_object_make_slow(size, origin, caller);
    return hak_policy_on_alloc(obj, cls, size, origin, caller);
}

void *hak_object_make_aligned(size_t size, hak_origin origin, uintptr_t caller) {
    size_t align = (size_t)1 << origin.align_log2;
    if (!hak_thread_begin())
        return no_memory();
    origin = placed(origin, caller);
    unsigned cls = hak_class_aligned(align, hak_policy_request(size));
    return make_or_reclaim(cls, size, align, origin, caller, NULL);
}

static HAK_NOINLINE void end_typed(void *obj) {
    unsigned cls, partition = hak_policy_partition_of_slot(obj, &cls);
    hak_cache *cache = hak_cache_of(partition);
    if (HAK_LIKELY(cache != NULL && hak_cache_push(cache, obj, cls)))
        return;
    hak_idle_look();
    hak_cache_give_typed(partition, obj, cls);
}

HAK_NOINLINE void hak_object_end_slow(void *obj, unsigned tag, hak_claim claim) {
    if (obj == NULL)
        return;
    if (tag != HAK_TAG_NONE && tag != HAK_TAG_LARGE) {
        bool first = !hak_cache_begun();
        (void)hak_thread_begin();
        if (first && !hak_policy_on_first_free(&obj, tag))
            return;
        if (HAK_POLICY_PARTITIONS != 0 && tag == HAK_TAG_TYPED) {
            end_typed(obj);
        } else if (!hak_cache_push(hak_cache_mine, obj, tag)) {
            hak_idle_look();
            hak_cache_flush_slow(obj, tag);
        }
        return;
    }
    hak_idle_look();
    if (HAK_UNLIKELY(hak_profile_rate != 0))
        hak_profile_ended(obj);
    if (hak_policy_on_large_free(obj) && !hak_large_give(obj))
        hak_die_at("invalid free", claim.call, (uintptr_t)obj, "not the start of a live object");
    hak_usage_note_arena();
}

size_t hak_object_capacity(const void *obj, unsigned tag) {
    if (tag == HAK_TAG_NONE)
        return 0;
    return tag == HAK_TAG_LARGE ? hak_large_capacity(obj) : hak_classes[tag].size;
}

HAK_ENTRY void *hak_malloc(size_t size) {
    return hak_object_make(size, HAK_ORIGIN_PLAIN, HAK_CALLER);
}

HAK_ENTRY void hak_free(void *obj) {
    hak_object_end(obj, HAK_CLAIM("free", HAK_FAMILY_MALLOC));
}

HAK_ENTRY void hak_free_sized(void *obj, size_t size) {
    hak_claim claim = HAK_CLAIM("free_sized", HAK_FAMILY_MALLOC);
    claim.size = hak_claim_size(size);
    hak_object_end(obj, claim);
}

/* Takes a slot for calloc, if possible one that is known to be zero. NULL: none was available. */
static void *calloc_slot(unsigned cls, size_t size, hak_origin origin, uintptr_t caller) {
    bool zeroed = false;
    if (HAK_UNLIKELY(hak_profile_rate != 0) && (hak_ration_next_due(cls) || hak_ration_due(cls, size)))
        return NULL;
    hak_idle_look();
    void *obj = HAK_POLICY_PARTITIONS == 0 || origin.partition == 0
                    ? hak_cache_take_zeroed(cls, &zeroed)
                    : hak_cache_refill_typed(origin.partition, cls);
    hak_usage_note_arena();
    if (obj == NULL)
        return NULL;
    obj = hak_policy_on_alloc(obj, cls, size, origin, caller);
    return zeroed ? obj : hak_policy_clear(obj, size);
}

/* Skips the clearing of memory that is known to be zero: it was never used, or was given back to the OS. */
static HAK_NOINLINE void *calloc_slow(size_t size, hak_origin origin, uintptr_t caller) {
    if (!hak_thread_begin())
        return no_memory();
    origin = placed(origin, caller);
    origin.untouched = 1;
    bool zeroed = false;
    size_t need = hak_policy_request(size);
    unsigned cls = need <= HAK_SLAB_SIZE_MAX ? hak_class_of(need) : 0;
    void *obj = cls != 0 ? calloc_slot(cls, size, origin, caller) : NULL;
    if (obj != NULL)
        return obj;
    obj = make_or_reclaim(cls, size, HAK_MIN_ALIGN, origin, cls != 0 ? caller : 0, &zeroed);
    return obj == NULL || zeroed ? obj : hak_policy_clear(obj, size);
}

HAK_ENTRY void *hak_calloc(size_t count, size_t size) {
    size_t total;
    if (HAK_UNLIKELY(!hak_mul_checked(count, size, &total)))
        return no_memory();
    if (HAK_UNLIKELY(hak_policy_request(total) > CALLOC_TOUCHES))
        return calloc_slow(total, HAK_ORIGIN_PLAIN, HAK_CALLER);
    void *obj = hak_object_make(total, HAK_ORIGIN_PLAIN, HAK_CALLER);
    return HAK_LIKELY(obj != NULL) ? memset(obj, 0, total) : NULL;
}

void *hak_object_make_zeroed(size_t size, hak_origin origin, uintptr_t caller) {
    bool plain = origin.align_log2 == HAK_ALIGN_LOG2;
    if (plain && hak_policy_request(size) <= CALLOC_TOUCHES) {
        void *obj = hak_object_make(size, origin, caller);
        return obj != NULL ? memset(obj, 0, size) : NULL;
    }
    if (plain)
        return calloc_slow(size, origin, caller);
    if (!hak_thread_begin())
        return no_memory();
    origin = placed(origin, caller);
    bool zeroed = false;
    size_t align = (size_t)1 << origin.align_log2;
    unsigned cls = hak_class_aligned(align, hak_policy_request(size));
    void *obj = make_or_reclaim(cls, size, align, origin, caller, &zeroed);
    return obj == NULL || zeroed ? obj : memset(obj, 0, size);
}
