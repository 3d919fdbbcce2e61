/* guard.c: see guard.h. */
#include "hardening/guard.h"

#include "allocator/heap/large.h"
#include "allocator/os/os.h"
#include "allocator/os/os_process.h"
#include "allocator/policy.h"
#include "hardening/marks.h"

enum {
    MAPS_PART = 5,     /* the part of the process's mappings that guards may use up */
    MAPS_OF_GUARD = 2, /* additional mappings when a guard splits one */
    /* Freed objects to guard: a burst of this many at once, and one more per millisecond. A burst of that length
     * costs 13 ms at worst. */
    TOKENS_MAX = 256,
    GAPS_PART = 4, /* of the mappings that guards may use up, so many more for gaps */
};

/* Ranges from the first length on are unmapped in any case; from the second one on while there are few gaps; shorter
 * ones also where address space is scarce. */
static const size_t UNMAPPED_FROM = 16 * HAK_MIB, UNMAPPED_FROM_FEW = HAK_MIB;

static bool have_markers = true; /* MADV_GUARD_INSTALL has not failed yet */
static _Atomic bool scarce;
static _Atomic unsigned fallbacks;
static _Atomic unsigned maps; /* in use */
static unsigned maps_most = HAK_OS_MAPS_USUAL / MAPS_PART;
static _Atomic uint64_t spent; /* milliseconds: the bucket is empty at this time */

bool hak_guard_maps_take(unsigned count) {
    if (atomic_fetch_add_explicit(&maps, count, memory_order_relaxed) + count <= maps_most)
        return true;
    hak_guard_maps_give(count);
    return false;
}
void hak_guard_maps_give(unsigned count) {
    atomic_fetch_sub_explicit(&maps, count, memory_order_relaxed);
}

static bool guard(uintptr_t addr, size_t size) {
    if (have_markers && hak_os_guard(addr, size))
        return true;
    /* Leaves half to sampled objects, because guards of slabs stay for good. */
    if (atomic_load_explicit(&maps, memory_order_relaxed) > maps_most / 2 ||
        !hak_guard_maps_take(MAPS_OF_GUARD))
        return false;
    if (hak_os_purge(addr, size, HAK_PURGE_NOW) && hak_os_protect(addr, size)) {
        atomic_fetch_add_explicit(&fallbacks, 1, memory_order_relaxed);
        return true;
    }
    hak_guard_maps_give(MAPS_OF_GUARD);
    return false;
}

/* If the process filters its system calls and cannot remove the markers any more, replaces the guarded pages,
 * which are empty. */
bool hak_guard_open(uintptr_t addr, size_t size) {
    if (have_markers && !hak_os_unguard(addr, size))
        return hak_os_renew(addr, size);
    if (have_markers && atomic_load_explicit(&fallbacks, memory_order_relaxed) == 0)
        return true;
    if (!hak_os_commit(addr, size))
        return false;
    /* Where markers work but were refused once, it is unknown whether this range has a fallback guard. The count
     * must stay, or nothing would open a range that has one. */
    if (!have_markers && atomic_load_explicit(&fallbacks, memory_order_relaxed) != 0) {
        atomic_fetch_sub_explicit(&fallbacks, 1, memory_order_relaxed);
        hak_guard_maps_give(MAPS_OF_GUARD);
    }
    return true;
}

void hak_guard_scarce(void) {
    if (!hak_guard_is_scarce())
        atomic_store_explicit(&scarce, true, memory_order_relaxed);
}
bool hak_guard_is_scarce(void) {
    return atomic_load_explicit(&scarce, memory_order_relaxed);
}

/* Tries a page, because there is no other way to learn whether the kernel has markers. */
void hak_guard_init(void) {
    maps_most = hak_os_maps_allowed() / MAPS_PART;
    if (hak_os_limited() || hak_os_strict())
        hak_guard_scarce();
    uintptr_t page = hak_os_reserve(hak_os_page, hak_os_page, 0);
    have_markers = page != 0 && hak_os_commit(page, hak_os_page) && hak_os_guard(page, hak_os_page);
    if (page != 0)
        hak_os_unmap(page, hak_os_page);
}

bool hak_guard_has_markers(void) {
    return have_markers;
}

void hak_guard_reset(void) {
    atomic_store(&scarce, false);
    atomic_store(&fallbacks, 0);
    atomic_store(&maps, 0);
    atomic_store(&spent, 0);
}

size_t hak_guard_slab_bytes(void) {
    return hak_hardening.guard && hak_os_page <= HAK_GRANULE / 4 ? hak_os_page : 0;
}

/* Does not guard hollow memory: other code may have mapped memory there. The lock keeps it from becoming hollow
 * meanwhile. */
static void guard_mapped(uintptr_t addr, size_t size) {
    hak_lock_take(&hak_superslab_lock);
    if (!hak_superslab_hollow_at(addr))
        (void)guard(addr, size);
    hak_lock_give(&hak_superslab_lock);
}

/* If no slab lies before this one, guards the last page before it as well. A slab that is born there later ends with
 * this page, because it cannot reach further. */
void hak_guard_slab(const hak_slab *slab) {
    size_t size = hak_guard_slab_bytes();
    if (size == 0)
        return;
    guard_mapped(slab->start + (size_t)slab->granules * HAK_GRANULE - size, size);
    const hak_ledger_region *region = hak_ledger_of(slab->start);
    size_t granule = (slab->start - region->base) >> HAK_GRANULE_SHIFT;
    if (granule != 0 &&
        atomic_load_explicit(&region->granules[granule - 1].run, memory_order_relaxed) == NULL)
        guard_mapped(slab->start - size, size);
}

bool hak_guard_slab_open(const hak_slab *slab) {
    size_t size = hak_guard_slab_bytes();
    uintptr_t end = slab->start + (size_t)slab->granules * HAK_GRANULE;
    hak_lock_take(&hak_superslab_lock);
    bool opened = size != 0 && slab->state != HAK_SLAB_UNUSED && !hak_superslab_hollow_at(end - size) &&
                  hak_guard_open(end - size, size);
    hak_lock_give(&hak_superslab_lock);
    return opened;
}

/* Leaky bucket: `spent` runs ahead of the clock by the tokens that were taken. */
static bool token_take(void) {
    uint64_t now = hak_os_milliseconds(), was = atomic_load_explicit(&spent, memory_order_relaxed);
    uint64_t from = was + TOKENS_MAX < now ? now - TOKENS_MAX : was;
    if (from >= now)
        return false;
    atomic_store_explicit(&spent, from + 1, memory_order_relaxed); /* a race uses one token twice */
    return true;
}

bool hak_guard_at_leisure(void) {
    return atomic_load_explicit(&spent, memory_order_relaxed) < hak_os_milliseconds();
}

/* A large object's granules in its region: the first one, and the one after the last. */
typedef struct granules {
    const hak_ledger_region *ledger;
    size_t first, end;
} granules;

static granules granules_of(const void *obj) {
    const hak_region *region = hak_region_find((uintptr_t)obj);
    const hak_span *span = hak_region_record(region, (uintptr_t)obj);
    size_t first = ((uintptr_t)obj - region->base) >> HAK_GRANULE_SHIFT;
    return (granules){&hak_ledger[region->index], first, first + span->granules};
}

/* How many pages at the end of granule `i` to guard, when the first `capacity` bytes of the object are in use. */
static uint8_t to_shut(size_t i, size_t capacity) {
    size_t start = i << HAK_GRANULE_SHIFT;
    size_t open = capacity <= start ? 0 : hak_min(capacity - start, HAK_GRANULE);
    return (uint8_t)((HAK_GRANULE - open) / hak_os_page);
}

/* Bytes from the start of the object to the guard that fills the rest of its span; 0: none. `from`: a granule
 * before the guard. */
static size_t open_bytes(const hak_large_record *record, size_t from, size_t granules) {
    size_t i = from;
    while (i < granules && record[i].shut == 0)
        i++;
    if (i == granules)
        return 0;
    size_t open = ((i + 1) << HAK_GRANULE_SHIFT) - record[i].shut * hak_os_page;
    while (++i < granules)
        if (record[i].shut != HAK_GRANULE / hak_os_page)
            return 0;
    return open;
}

/* Opens the guarded parts of the first `capacity` bytes, which are in the first `used` granules: from the first
 * to the last granule with a guard, by one call. False: the OS refused, and nothing has changed. */
static bool open_inside(granules its, size_t used, size_t capacity) {
    hak_large_record *record = its.ledger->large;
    size_t first = used, end = 0;
    for (size_t at = its.first; (at = hak_marks_next(its.ledger, at, its.first + used)) < its.first + used;
         at++)
        if (record[at].shut > to_shut(at - its.first, capacity)) {
            first = hak_min(first, at - its.first);
            end = at - its.first + 1;
        }
    uintptr_t obj = its.ledger->base + (its.first << HAK_GRANULE_SHIFT);
    if (end != 0 &&
        !hak_guard_open(obj + (first << HAK_GRANULE_SHIFT),
                        hak_min(end << HAK_GRANULE_SHIFT, capacity) - (first << HAK_GRANULE_SHIFT)))
        return false;
    for (size_t at = its.first + first; end != 0 && at < its.first + end; at++)
        record[at].shut = (uint8_t)hak_min(record[at].shut, to_shut(at - its.first, capacity));
    return true;
}

/* Opens the inside, then guards the end. */
bool hak_guard_large_live(void *obj, size_t capacity) {
    if (!hak_hardening.guard)
        return true;
    granules its = granules_of(obj);
    hak_large_record *record = &its.ledger->large[its.first];
    size_t count = its.end - its.first, used = (capacity + HAK_GRANULE - 1) >> HAK_GRANULE_SHIFT;
    if (!open_inside(its, used, capacity))
        return false;
    size_t open = open_bytes(record, used - 1, count);
    if (hak_guard_near(capacity, open) && (open - capacity) / hak_os_page <= UINT16_MAX &&
        !hak_guard_at_leisure()) {
        record->slack = (uint16_t)((open - capacity) / hak_os_page);
        return true;
    }
    record->slack = 0;
    bool shut = open == capacity;
    if (!shut) /* a gap follows each object */
        shut = guard((uintptr_t)obj + capacity, (count << HAK_GRANULE_SHIFT) - capacity);
    if (shut)
        hak_marks_set(its.ledger, its.first + used - 1, its.end);
    for (size_t i = used - 1; shut && i < count; i++)
        record[i].shut = to_shut(i, capacity);
    return true;
}

/* Counts out a fallback guard that went with its mapping. */
static void guard_gone(bool begins) {
    if (have_markers || !begins || atomic_load_explicit(&fallbacks, memory_order_relaxed) == 0)
        return;
    atomic_fetch_sub_explicit(&fallbacks, 1, memory_order_relaxed);
    hak_guard_maps_give(MAPS_OF_GUARD);
}

void hak_guard_hollowed(const hak_region *region, uintptr_t start, size_t size) {
    const hak_ledger_region *ledger = &hak_ledger[region->index];
    size_t first = (start - region->base) >> HAK_GRANULE_SHIFT, end = first + (size >> HAK_GRANULE_SHIFT);
    for (size_t at = first; hak_hardening.guard && (at = hak_marks_next(ledger, at, end)) < end; at++) {
        hak_large_record *record = &ledger->large[at];
        if (record->shut == 0)
            continue;
        guard_gone(at == first || record[-1].shut == 0);
        record->shut = 0;
    }
}

bool hak_guard_gaps_left(void) {
    return atomic_load_explicit(&hak_span_holes, memory_order_relaxed) < maps_most / GAPS_PART;
}
bool hak_guard_may_unmap(size_t bytes) {
    return bytes >= UNMAPPED_FROM || hak_guard_gaps_left();
}
bool hak_guard_unmaps(size_t bytes) {
    return hak_guard_may_unmap(bytes) && (bytes >= UNMAPPED_FROM_FEW || hak_guard_is_scarce());
}

bool hak_guard_large_freed(void *obj) {
    if (!hak_hardening.guard || !token_take())
        return false;
    if (!hak_guard_is_scarce() && hak_os_filter != HAK_FILTER_OWN &&
        hak_os_limited()) /* the limit may be new */
        hak_guard_scarce();
    granules its = granules_of(obj);
    size_t bytes = (its.end - its.first) << HAK_GRANULE_SHIFT;
    hak_large_record *record = its.ledger->large;
    if (hak_guard_unmaps(bytes) && hak_large_empty(obj)) {
        record[its.first].slack = 0;
        return true;
    }
    if (!guard((uintptr_t)obj, bytes))
        return false;
    hak_marks_set(its.ledger, its.first, its.end);
    for (size_t at = its.first; at < its.end; at++)
        record[at].shut = HAK_GRANULE / hak_os_page;
    record[its.first].slack = 0;
    return true;
}
