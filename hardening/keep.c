/* keep.c: see keep.h. */
#include "hardening/keep.h"

#include "allocator/heap/large.h"
#include "allocator/os/os.h"
#include "hardening/guard.h"

enum {
    KEPT_MOST = 64,
    KEPT_LEAST = 2, /* of any size, when they are guarded */
    KEPT_BYTES = 128 * HAK_MIB,
    KEPT_RESIDENT = 64 * HAK_MIB,
    KEPT_RESTING = 4, /* the newest, which do not go to a new owner */
};

typedef struct kept {
    void *obj;
    size_t capacity;    /* bytes that are accessible when it is not guarded */
    size_t own;         /* of it, the object's */
    size_t resident;    /* of it, what may be */
    bool guarded, seen; /* seen: by hak_keep_idle */
} kept;

static kept ring[KEPT_MOST];
static unsigned first, count;
static size_t bytes;

_Atomic size_t hak_keep_objects, hak_keep_bytes, hak_keep_resident;

/* The oldest, NULL when there is none. */
static void *leave(void) {
    hak_lock_check_held(&hak_hardening_lock);
    if (count == 0)
        return NULL;
    const kept *oldest = &ring[first];
    bytes -= oldest->capacity;
    hak_counter_sub(&hak_keep_objects, 1);
    hak_counter_sub(&hak_keep_bytes, oldest->own);
    hak_counter_sub(&hak_keep_resident, oldest->resident);
    first = (first + 1) % KEPT_MOST;
    count--;
    return oldest->obj;
}

/* One that has to leave before so much may come in; NULL when there is room. */
static void *leave_for(size_t capacity, bool guarded) {
    bool full = count == KEPT_MOST || (bytes + capacity > KEPT_BYTES && count >= KEPT_LEAST) ||
                (!guarded && hak_keep_resident + capacity > KEPT_RESIDENT);
    return full ? leave() : NULL;
}

bool hak_keep_take(void *obj, size_t capacity, bool guarded) {
    if (!hak_hardening.quarantine || (!guarded && capacity > KEPT_RESIDENT / 2))
        return false;
    for (;;) {
        hak_lock_take(&hak_hardening_lock);
        void *oldest = leave_for(capacity, guarded);
        if (oldest == NULL) {
            size_t own = hak_large_capacity(obj);
            size_t resident = guarded ? 0 : capacity;
            ring[(first + count++) % KEPT_MOST] = (kept){obj, capacity, own, resident, guarded, false};
            bytes += capacity;
            hak_counter_add(&hak_keep_objects, 1);
            hak_counter_add(&hak_keep_bytes, own);
            hak_counter_add(&hak_keep_resident, resident);
        }
        hak_lock_give(&hak_hardening_lock);
        if (oldest == NULL)
            return true;
        (void)hak_large_give(oldest);
    }
}

/* The oldest at a multiple of `align` that has a near enough guard for `need` bytes; the oldest of all takes its
 * place. */
static void *leave_near(size_t need, size_t align) {
    for (unsigned i = 0; i + KEPT_RESTING < count; i++) {
        kept *found = &ring[(first + i) % KEPT_MOST];
        if (found->guarded || hak_region_find((uintptr_t)found->obj)->kind >= HAK_REGION_TYPED ||
            (uintptr_t)found->obj % align != 0 || !hak_guard_near(need, found->capacity))
            continue;
        kept again = *found;
        *found = ring[first];
        ring[first] = again;
        return leave();
    }
    return NULL;
}

void *hak_keep_again(size_t size, size_t align, size_t *capacity) {
    if (!hak_hardening.guard || hak_guard_at_leisure())
        return NULL;
    hak_lock_take(&hak_hardening_lock);
    void *obj = leave_near(hak_align_up(size, hak_os_page), align);
    hak_lock_give(&hak_hardening_lock);
    if (obj != NULL)
        hak_large_again(obj, size, capacity);
    return obj;
}

void hak_keep_flush(void) {
    for (;;) {
        hak_lock_take(&hak_hardening_lock);
        void *oldest = leave();
        hak_lock_give(&hak_hardening_lock);
        if (oldest == NULL)
            return;
        (void)hak_large_give(oldest);
    }
}

static void purge_locked(kept *one) {
    hak_lock_check_held(&hak_hardening_lock);
    if (one->resident == 0 || !hak_os_purge((uintptr_t)one->obj, one->capacity, HAK_PURGE_NOW))
        return;
    hak_counter_sub(&hak_keep_resident, one->resident);
    one->resident = 0;
}

static void purge(bool all) {
    if (atomic_load_explicit(&hak_keep_resident, memory_order_relaxed) == 0)
        return;
    hak_lock_take(&hak_hardening_lock);
    for (unsigned i = 0; i < count; i++) {
        kept *one = &ring[(first + i) % KEPT_MOST];
        if (all || one->seen)
            purge_locked(one);
        one->seen = true;
    }
    hak_lock_give(&hak_hardening_lock);
}

void hak_keep_trim(void) {
    purge(true);
}
void hak_keep_idle(void) {
    purge(false);
}

void hak_keep_reset(void) {
    first = count = 0;
    bytes = 0;
    hak_keep_objects = hak_keep_bytes = hak_keep_resident = 0;
}
