/* realloc.c: resizes objects, in place where that wastes little, else by a move. */
#include "allocator/alloc.h"
#include "allocator/api/usage.h"
#include "allocator/cache/ration.h"
#include "allocator/heap/large.h"
#include "allocator/heap/profile.h"
#include "allocator/life/idle.h"
#include "allocator/life/thread.h"
#include "include/hakmem.h"

#include <errno.h>
#include <string.h>

/* True when `need` bytes fit and fill enough of the capacity. */
static bool fits_well(size_t need, size_t capacity) {
    return need <= capacity && need >= capacity / HAK_POLICY_FILL_PART;
}

/* Keeps a small object in its slot when that wastes little. */
static bool resize_slot(void *obj, unsigned tag, size_t size, size_t capacity) {
    if (!fits_well(hak_policy_request(size), capacity))
        return false;
    hak_policy_on_resize(obj, tag, size);
    return true;
}

/* For the heap profile, a resized object is a new object, even when it stays in place. */
static void profile_again(void *was, void *obj, size_t size) {
    if (HAK_LIKELY(hak_profile_rate == 0))
        return;
    hak_profile_ended(was);
    if (!hak_thread_begin() || !hak_ration_due(0, size))
        return;
    hak_ration_busy(true);
    hak_profile_made(obj, size, 0, 0);
    hak_ration_busy(false);
}

/* Keeps a large object in place when it stays large and its span can be resized. */
static bool resize_large(void *obj, size_t size) {
    size_t capacity;
    hak_idle_look();
    if (hak_policy_request(size) <= HAK_SLAB_SIZE_MAX || size > PTRDIFF_MAX || !hak_policy_large_hold(obj))
        return false;
    if (!hak_large_resize(obj, size, &capacity)) {
        hak_policy_large_unhold(obj);
        return false;
    }
    bool done = hak_policy_on_large_resize(obj, size, capacity);
    hak_usage_note_large();
    hak_usage_note_arena();
    if (done)
        profile_again(obj, obj, size);
    return done;
}

/* Moves a large object's pages to another address without copying, where the policy allows that. */
static void *move_large(void *obj, size_t size) {
    size_t capacity;
    bool may = HAK_POLICY_MOVES_PAGES && hak_policy_request(size) > HAK_SLAB_SIZE_MAX && size <= PTRDIFF_MAX;
    void *moved = may ? hak_large_move(obj, size, &capacity) : NULL;
    if (moved != NULL)
        profile_again(obj, moved, size);
    return moved;
}

/* A copy stays in the object's partition, unless the call names another one. */
static hak_origin origin_of_copy(const void *obj, hak_origin origin) {
    if (HAK_POLICY_PARTITIONS != 0 && origin.partition == 0)
        origin.partition = hak_policy_partition_of(obj);
    return origin;
}

static void *move(void *obj, unsigned tag, size_t old_size, size_t size, hak_origin origin,
                  uintptr_t caller) {
    void *moved = tag == HAK_TAG_LARGE ? move_large(obj, size) : NULL;
    if (moved != NULL)
        return moved;
    moved = hak_object_make(size, origin_of_copy(obj, origin), caller);
    if (moved == NULL)
        return NULL;
    memcpy(moved, obj, hak_min(old_size, size));
    hak_object_end(obj, HAK_CLAIM("realloc", HAK_FAMILY_MALLOC));
    return moved;
}

/* What a resize needs to know about an object. */
typedef struct subject {
    unsigned tag;
    size_t capacity, had;
    bool owned; /* held by the policy: never resized in place */
} subject;

static subject look_at(void *obj, const char *call, uintptr_t caller) {
    subject it = {.tag = hak_policy_tag(obj)};
    hak_policy_check_live(obj, it.tag, call, caller);
    it.capacity = hak_object_capacity(obj, it.tag);
    it.owned = it.capacity == 0 && hak_policy_owns(obj);
    if (it.capacity == 0 && !it.owned)
        hak_object_end_slow(obj, HAK_TAG_NONE, HAK_CLAIM(call, HAK_FAMILY_MALLOC));
    it.had = hak_policy_usable(obj, it.tag, it.capacity);
    return it;
}

static bool resize(void *obj, const subject *it, size_t size) {
    if (it->owned)
        return false;
    return it->tag == HAK_TAG_LARGE ? resize_large(obj, size) : resize_slot(obj, it->tag, size, it->capacity);
}

bool hak_object_resize(void *obj, size_t size, size_t most, const char *call, uintptr_t caller, size_t *had) {
    subject it = look_at(obj, call, caller);
    *had = it.had;
    return resize(obj, &it, most) || (it.had < size && size < most && resize(obj, &it, size));
}

void *hak_object_change(void *obj, size_t size, hak_origin origin, const char *call, uintptr_t caller,
                        size_t *had) {
    subject it = look_at(obj, call, caller);
    *had = it.had;
    if ((uintptr_t)obj % ((size_t)1 << origin.align_log2) == 0 && resize(obj, &it, size))
        return obj;
    if (origin.align_log2 == HAK_ALIGN_LOG2)
        return move(obj, it.tag, it.had, size, origin, caller);
    void *moved = hak_object_make_aligned(size, origin_of_copy(obj, origin), caller);
    if (moved == NULL)
        return NULL;
    memcpy(moved, obj, hak_min(it.had, size));
    hak_object_end(obj, HAK_CLAIM(call, HAK_FAMILY_MALLOC));
    return moved;
}

HAK_ENTRY void *hak_realloc(void *obj, size_t size) {
    if (obj == NULL)
        return hak_malloc(size);
    unsigned tag = hak_policy_tag(obj);
    hak_policy_check_live(obj, tag, "realloc", HAK_CALLER);
    size_t capacity = hak_object_capacity(obj, tag);
    bool owned = capacity == 0 && hak_policy_owns(obj);
    if (HAK_UNLIKELY(capacity == 0 && !owned)) /* not an object of ours: dies */
        hak_object_end_slow(obj, HAK_TAG_NONE, HAK_CLAIM("realloc", HAK_FAMILY_MALLOC));
    if (size == 0) {
        hak_object_end(obj, HAK_CLAIM("realloc", HAK_FAMILY_MALLOC));
        return NULL;
    }
    bool done = false;
    if (!owned)
        done = tag == HAK_TAG_LARGE ? resize_large(obj, size) : resize_slot(obj, tag, size, capacity);
    return done ? obj
                : move(obj, tag, hak_policy_usable(obj, tag, capacity), size, HAK_ORIGIN_PLAIN, HAK_CALLER);
}

void *hak_reallocarray(void *obj, size_t count, size_t size) {
    size_t total;
    if (!hak_mul_checked(count, size, &total)) {
        errno = ENOMEM;
        return NULL;
    }
    return hak_realloc(obj, total);
}

size_t hak_usable_size(const void *obj) {
    if (obj == NULL)
        return 0;
    unsigned tag = hak_policy_tag(obj);
    hak_policy_check_live(obj, tag, "malloc_usable_size", HAK_CALLER);
    return hak_policy_usable(obj, tag, hak_object_capacity(obj, tag));
}
