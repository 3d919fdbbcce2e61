/* keep.c: see keep.h. */
#include "hardening/keep.h"

#include "allocator/heap/large.h"
#include "allocator/os/os.h"
#include "allocator/os/os_process.h"
#include "allocator/pages/mapped_limit.h"
#include "hardening/guard.h"
#include "hardening/seal.h"

#include <string.h>

enum {
    /* The first lane has all that is smaller, too, and the last one all that is larger. */
    LANE_FIRST_LOG2 = 18,
    LANES = 17,
    KEPT_MOST = 640, /* objects of a lane */
    /* Mapped address space where it is scarce: other code of the process cannot have it, thread stacks for example. */
    KEPT_BYTES_SCARCE = 16 * HAK_MIB,
    KEPT_SHARES = 4, /* under a limit: so many of its shares (mapped_limit.h), if that is less */
    KEPT_LEAST = 2,  /* of a lane, of any size, when they are unmapped */
    /* Under a limit: 16 times the limit. Our tables map a byte for each 750. */
    KEPT_UNMAPPED_SHARES = 1024,
};

/* Mapped address space may take 1 byte of page tables in 512, which each fork copies, until hak_keep_idle; with less
 * than this, a process that frees large objects of all sizes all the time unmaps and maps them (docs/decisions/012).
 * Of unmapped objects our tables keep one resident byte for each 16 KiB, and two pages for each object. */
static const size_t KEPT_BYTES = (size_t)4 * 1024 * HAK_MIB, KEPT_UNMAPPED = (size_t)16 * 1024 * HAK_MIB;

typedef struct kept {
    void *obj;
    size_t size;         /* bytes of addresses that rest with it */
    size_t own;          /* of these: what belonged to the object when it was freed */
    bool unmapped, seen; /* seen: by hak_keep_idle */
} kept;

typedef enum kind { MAPPED, UNMAPPED, KINDS } kind;

typedef struct lane {
    kept *places; /* NULL until its first object comes: mlockall counts what is mapped */
    unsigned first, count;
    size_t objects[KINDS], bytes[KINDS];
} lane;

static lane lanes[LANES];
static _Atomic size_t mapped; /* bytes[MAPPED] of all lanes */

_Atomic size_t hak_keep_objects, hak_keep_bytes;

static lane *lane_of(size_t size) {
    unsigned log2 = hak_max(hak_log2(size), (unsigned)LANE_FIRST_LOG2) - LANE_FIRST_LOG2;
    return &lanes[hak_min(log2, LANES - 1u)];
}

static kept *place_at(const lane *of, unsigned i) {
    return &of->places[(of->first + i) % KEPT_MOST];
}

/* Counts an object that comes in (1) or goes out (-1). */
static void count(lane *of, const kept *one, int by) {
    kind is = one->unmapped ? UNMAPPED : MAPPED;
    size_t more = (size_t)by * one->size; /* wraps around */
    of->objects[is] += (size_t)by;
    of->bytes[is] += more;
    hak_counter_add(&mapped, one->unmapped ? 0 : more);
    hak_counter_add(&hak_keep_bytes, one->unmapped ? 0 : (size_t)by * one->own);
}

/* Removes the object at place `i`, counted from the oldest, and returns it; NULL: there is none. */
static void *leave(lane *of, unsigned i) {
    hak_lock_check_held(&hak_hardening_lock);
    if (i >= of->count)
        return NULL;
    kept gone = *place_at(of, i);
    count(of, &gone, -1);
    hak_counter_sub(&hak_keep_objects, 1);
    for (; i > 0; i--)
        *place_at(of, i) = *place_at(of, i - 1);
    of->first = (of->first + 1) % KEPT_MOST;
    of->count--;
    return gone.obj;
}

/* Removes the oldest object that is unmapped, or mapped. */
static void *leave_kind(lane *of, bool unmapped) {
    unsigned i = 0;
    while (i < of->count && place_at(of, i)->unmapped != unmapped)
        i++;
    return leave(of, i);
}

static lane *fullest(void) {
    lane *found = &lanes[0];
    for (unsigned i = 1; i < LANES; i++)
        if (lanes[i].bytes[MAPPED] > found->bytes[MAPPED])
            found = &lanes[i];
    return found;
}

static size_t mapped_with(size_t size) {
    return atomic_load_explicit(&mapped, memory_order_relaxed) + size;
}

static size_t mapped_most(void) {
    size_t share = hak_min(KEPT_BYTES_SCARCE, atomic_load_explicit(&hak_limit_share, memory_order_relaxed));
    return hak_guard_is_scarce() ? hak_min(KEPT_BYTES_SCARCE, KEPT_SHARES * share) : KEPT_BYTES;
}

static size_t unmapped_most(void) {
    size_t share = atomic_load_explicit(&hak_limit_share, memory_order_relaxed);
    return hak_min(KEPT_UNMAPPED, KEPT_UNMAPPED_SHARES * hak_min(share, KEPT_UNMAPPED));
}

/* Unmapped bytes of a lane, with one object of `more` bytes that comes in, and without the part of two objects. */
static size_t surplus(const lane *of, size_t more) {
    size_t all = of->bytes[UNMAPPED] + more, objects = of->objects[UNMAPPED] + (more != 0);
    return objects <= KEPT_LEAST ? 0 : all / objects * (objects - KEPT_LEAST);
}

/* The lane that has most to give where unmapped objects are too many when `one` comes in; NULL: they are not. */
static lane *longest(const lane *to, const kept *one) {
    size_t all = 0, most = 0;
    lane *found = NULL;
    for (unsigned i = 0; i < LANES; i++) {
        size_t own = surplus(&lanes[i], &lanes[i] == to ? one->size : 0);
        all += own;
        if (own > most) {
            most = own;
            found = &lanes[i];
        }
    }
    return all > unmapped_most() ? found : NULL;
}

/* Removes an object that must leave before `one` comes in; NULL: there is room. Who frees objects of other sizes drives
 * none out, unless they take more address space than those of its lane. */
static void *leave_for(lane *to, const kept *one) {
    if (to->count == KEPT_MOST)
        return leave(to, 0);
    if (!one->unmapped)
        return mapped_with(one->size) > mapped_most() ? leave_kind(fullest(), false) : NULL;
    lane *from = longest(to, one);
    return from != NULL ? leave_kind(from, true) : NULL;
}

static size_t places_bytes(void) {
    return hak_align_up(KEPT_MOST * sizeof(kept), hak_os_page);
}

/* False: the OS has no memory for the lane's places. */
static bool begun(lane *of) {
    hak_lock_take(&hak_hardening_lock);
    if (HAK_UNLIKELY(of->places == NULL)) {
        of->places = (kept *)hak_os_map_between(places_bytes());
        if (of->places != NULL)
            hak_seal_metadata((uintptr_t)of->places, places_bytes());
    }
    bool done = of->places != NULL;
    hak_lock_give(&hak_hardening_lock);
    return done;
}

/* Puts the object into its lane. Returns an object that left instead, so it has to be tried again; NULL: it is in. */
static void *put(lane *to, const kept *one) {
    hak_lock_take(&hak_hardening_lock);
    void *oldest = leave_for(to, one);
    if (oldest == NULL) {
        *place_at(to, to->count++) = *one;
        count(to, one, 1);
        hak_counter_add(&hak_keep_objects, 1);
    }
    hak_lock_give(&hak_hardening_lock);
    return oldest;
}

static bool too_large(size_t size) {
    return size > mapped_most() / 2;
}

/* True when mapped objects fill their part; where address space is scarce, others may have most of it. */
static bool is_crowded(size_t size) {
    size_t most = hak_guard_is_scarce() ? mapped_most() / KEPT_SHARES : KEPT_BYTES;
    return mapped_with(size) > most;
}

/* Takes the object's memory, if it has any: unmaps it where mapped ones have no room, otherwise purges it. The other
 * one, where the OS refuses (locked pages cannot be purged). */
static bool drop(kept *one, size_t capacity, bool shut) {
    uintptr_t addr = (uintptr_t)one->obj;
    bool may = !one->unmapped && hak_guard_may_unmap(one->size);
    if (may && (is_crowded(one->size) || too_large(one->size)))
        one->unmapped = hak_large_empty(one->obj);
    if (one->unmapped || shut || hak_os_purge(addr, capacity, HAK_PURGE_NOW))
        return true;
    return one->unmapped = may && hak_large_empty(one->obj);
}

/* What realloc has cut off rests with the object. The gap behind it, from the end of a granule on, does not count. */
static size_t resting(const void *obj, size_t capacity) {
    size_t all = hak_large_reach(obj), gap = (HAK_GUARD_GAP_MOST + 1) * HAK_GRANULE;
    return hak_max(capacity, all - hak_min(all, gap));
}

bool hak_keep_take(void *obj, size_t capacity, bool shut) {
    kept one = {obj, resting(obj, capacity), hak_large_capacity(obj), hak_large_is_empty(obj), false};
    if (!hak_hardening.quarantine || !drop(&one, capacity, shut) || (!one.unmapped && too_large(one.size)))
        return false;
    lane *to = lane_of(one.size);
    if (!begun(to))
        return false;
    for (void *oldest; (oldest = put(to, &one)) != NULL;)
        (void)hak_large_give(oldest);
    return true;
}

static void *take_oldest(lane *of) {
    hak_lock_take(&hak_hardening_lock);
    void *oldest = leave(of, 0);
    hak_lock_give(&hak_hardening_lock);
    return oldest;
}

void hak_keep_flush(void) {
    for (unsigned i = 0; i < LANES; i++)
        for (void *oldest; (oldest = take_oldest(&lanes[i])) != NULL;)
            (void)hak_large_give(oldest);
}

/* Unmaps the object at place `i`, counted from the oldest, if it has been there for a pass. Both locks are
 * held, so the object stays in the lane meanwhile. False: no more places, or too many gaps. */
static bool unmap_at(lane *of, unsigned i) {
    hak_lock_take(&hak_large_lock);
    hak_lock_take(&hak_hardening_lock);
    bool more = i < of->count && of->bytes[MAPPED] != 0 && hak_guard_gaps_left();
    kept *one = more ? place_at(of, i) : NULL;
    if (more && !one->unmapped && one->seen && hak_large_empty_locked(one->obj)) {
        count(of, one, -1);
        one->unmapped = true;
        count(of, one, 1);
    } else if (more)
        one->seen = true;
    hak_lock_give(&hak_hardening_lock);
    hak_lock_give(&hak_large_lock);
    return more;
}

void hak_keep_idle(void) {
    for (unsigned lane = 0; lane < LANES; lane++)
        for (unsigned i = 0; unmap_at(&lanes[lane], i);)
            i++;
}

HAK_UNSEEN void hak_keep_reset(void) {
    for (unsigned i = 0; i < LANES; i++)
        if (lanes[i].places != NULL)
            hak_os_unmap_between((uintptr_t)lanes[i].places, places_bytes());
    memset(lanes, 0, sizeof lanes);
    mapped = hak_keep_objects = hak_keep_bytes = 0;
}
