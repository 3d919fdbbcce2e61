/* keep.c: see keep.h. */
#include "hardening/keep.h"

#include "allocator/heap/large.h"
#include "allocator/os/os.h"
#include "allocator/os/os_process.h"
#include "allocator/pages/mapped_limit.h"
#include "allocator/pages/release.h"
#include "allocator/policy.h"
#include "hardening/guard.h"

enum {
    KEPT_MOST = 640,
    /* Mapped address space: it counts against limits, and its guards take 1 byte of page tables in 512. Where it is
     * scarce, other code of the process cannot have it: thread stacks, for example. */
    KEPT_BYTES = 1024 * HAK_MIB,
    KEPT_BYTES_SCARCE = 16 * HAK_MIB,
    KEPT_SHARES = 4,              /* under a limit: so many of its shares (mapped_limit.h), if that is less */
    KEPT_LEAST = 2,               /* of any size, when they are unmapped */
    KEPT_RESIDENT = 64 * HAK_MIB, /* 8 MiB: workload h takes 1.6 times as long */
    KEPT_RESIDENT_LEAN = 8 * HAK_MIB,
    KEPT_RESTING = 4, /* the newest, which do not go to a new owner */
};

/* Bytes of address space of unmapped objects: our tables keep one resident byte for each 16 KiB of them. */
static const size_t KEPT_UNMAPPED = (size_t)16 * 1024 * HAK_MIB;

typedef struct kept {
    void *obj;
    size_t capacity;    /* bytes that are accessible when it is not guarded */
    size_t own;         /* of capacity: bytes that belong to the object; 0 when it is unmapped */
    size_t mapped;      /* of capacity: mapped bytes; some objects are unmapped (guard.h) */
    size_t resident;    /* of capacity: bytes that may be resident */
    bool guarded, seen; /* seen: hak_keep_idle has seen it */
} kept;

static kept ring[KEPT_MOST];
static unsigned first, count;
static size_t mapped, unmapped;

_Atomic size_t hak_keep_objects, hak_keep_bytes, hak_keep_resident;

/* Removes the oldest object and returns it; NULL: there is none. */
static void *leave(void) {
    hak_lock_check_held(&hak_hardening_lock);
    if (count == 0)
        return NULL;
    const kept *oldest = &ring[first];
    mapped -= oldest->mapped;
    unmapped -= oldest->capacity - oldest->mapped;
    hak_counter_sub(&hak_keep_objects, 1);
    hak_counter_sub(&hak_keep_bytes, oldest->own);
    hak_counter_sub(&hak_keep_resident, oldest->resident);
    first = (first + 1) % KEPT_MOST;
    count--;
    return oldest->obj;
}

static size_t kept_bytes(void) {
    size_t share = hak_min(KEPT_BYTES_SCARCE, atomic_load_explicit(&hak_limit_share, memory_order_relaxed));
    return hak_guard_is_scarce() ? hak_min(KEPT_BYTES_SCARCE, KEPT_SHARES * share) : KEPT_BYTES;
}

/* Removes an object that must leave before `its` mapped and `without` unmapped bytes come in; NULL: there is room.
 * Memory that an attacker frees without having touched it drives nothing out, except by number and by address space. */
static void *leave_for(size_t its, size_t without) {
    bool full = count == KEPT_MOST || mapped + its > kept_bytes() ||
                (count >= KEPT_LEAST && without != 0 && unmapped + without > KEPT_UNMAPPED);
    return full ? leave() : NULL;
}

/* Sets how much of the object may stay resident: nothing, when too much is resident already. False: the OS refused
 * to purge it. */
static bool make_room(void *obj, size_t capacity, size_t *resident) {
    size_t most = hak_release_is_lean() ? KEPT_RESIDENT_LEAN : KEPT_RESIDENT;
    *resident = capacity;
    if (atomic_load_explicit(&hak_keep_resident, memory_order_relaxed) + capacity <= most)
        return true;
    *resident = 0;
    return hak_os_purge((uintptr_t)obj, capacity, HAK_PURGE_NOW);
}

/* Where address space is scarce, and the quarantine has its part of it, unmaps an object that has no guard. In general
 * that would cost too much: it could not go to a new owner as it is (docs/decisions/012). */
static bool spare(void *obj, size_t capacity) {
    return hak_guard_is_scarce() && hak_guard_gaps_left() &&
           atomic_load_explicit(&hak_keep_bytes, memory_order_relaxed) + capacity >
               kept_bytes() / KEPT_SHARES &&
           hak_large_empty(obj);
}

bool hak_keep_take(void *obj, size_t capacity, bool guarded) {
    guarded = guarded || spare(obj, capacity);
    size_t resident = 0, own = guarded && hak_large_is_empty(obj) ? 0 : hak_large_capacity(obj);
    size_t its = own == 0 ? 0 : capacity;
    if (!hak_hardening.quarantine || its > kept_bytes() / 2 ||
        (!guarded && !make_room(obj, capacity, &resident)))
        return false;
    for (;;) {
        hak_lock_take(&hak_hardening_lock);
        void *oldest = leave_for(its, capacity - its);
        if (oldest == NULL) {
            ring[(first + count++) % KEPT_MOST] = (kept){obj, capacity, own, its, resident, guarded, false};
            mapped += its;
            unmapped += capacity - its;
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

/* True when the object may go to a new owner who wants `need` bytes at a multiple of `align`: its guard is near
 * enough. */
static bool goes_on(const kept *one, size_t need, size_t align) {
    return !one->guarded && hak_region_find((uintptr_t)one->obj)->kind < HAK_REGION_TYPED &&
           (uintptr_t)one->obj % align == 0 && hak_guard_near(need, one->capacity);
}

/* Removes the oldest object that goes_on accepts, and prefers one with resident memory. The oldest object of all
 * takes its place in the ring. */
static void *leave_near(size_t need, size_t align) {
    kept *found = NULL;
    for (unsigned i = 0; i + KEPT_RESTING < count && (found == NULL || found->resident == 0); i++) {
        kept *one = &ring[(first + i) % KEPT_MOST];
        if ((found == NULL || one->resident != 0) && goes_on(one, need, align))
            found = one;
    }
    if (found == NULL)
        return NULL;
    kept again = *found;
    *found = ring[first];
    ring[first] = again;
    return leave();
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
    hak_lock_take(&hak_hardening_lock);
    for (unsigned i = 0; i < count; i++) {
        kept *one = &ring[(first + i) % KEPT_MOST];
        if (all || one->seen)
            purge_locked(one);
        one->seen = true;
    }
    hak_lock_give(&hak_hardening_lock);
}

/* Unmaps the object at place `i`, counted from the oldest, if its guard has been there for a pass. Both locks are
 * held, so the object stays in the ring meanwhile. False: no more places, or too many gaps. */
static bool unmap_at(unsigned i) {
    hak_lock_take(&hak_large_lock);
    hak_lock_take(&hak_hardening_lock);
    bool more = i < count && hak_guard_gaps_left();
    kept *one = &ring[(first + i) % KEPT_MOST];
    if (more && one->guarded && one->seen && one->mapped != 0 && hak_large_empty_locked(one->obj)) {
        mapped -= one->mapped;
        unmapped += one->mapped;
        hak_counter_sub(&hak_keep_bytes, one->own);
        one->mapped = one->own = 0;
    }
    hak_lock_give(&hak_hardening_lock);
    hak_lock_give(&hak_large_lock);
    return more;
}

void hak_keep_trim(void) {
    purge(true);
}
void hak_keep_idle(void) {
    for (unsigned i = 0; unmap_at(i);)
        i++;
    purge(false);
}

void hak_keep_reset(void) {
    first = count = 0;
    mapped = unmapped = 0;
    hak_keep_objects = hak_keep_bytes = hak_keep_resident = 0;
}
