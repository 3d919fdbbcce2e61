/* large.c: see large.h. */
#include "allocator/large.h"

#include "allocator/os.h"
#include "allocator/policy.h"
#include "allocator/release.h"
#include "allocator/span_index.h"
#include "allocator/tag.h"

hak_lock hak_large_lock = HAK_LOCK_INIT(HAK_RANK_LARGE);
_Atomic size_t hak_large_count, hak_large_operations;

static hak_link by_age; /* free dirty spans, the oldest first */

enum {
    /* Moved pages are mappings of their own for good, of which a process may have 65,530: then copy again. */
    MOVES_MAX = 4096,
    MOVE_MIN = HAK_MIB, /* below, copying is as quick as the system call and the page faults after it */
    /* Every so many frees the clock is read, and idle spans are looked for. */
    CLOCK_PERIOD = 64,
};

static unsigned moves, frees;
static uint64_t now; /* milliseconds, as of the last look at the clock */

void hak_large_init(void) {
    hak_region_define(HAK_REGION_LARGE, HAK_GRANULE_SHIFT, sizeof(hak_span));
    hak_region_define(HAK_REGION_ALIGNED, HAK_GRANULE_SHIFT, sizeof(hak_span));
    hak_span_index_init();
    hak_list_init(&by_age);
    moves = frees = 0;
    now = hak_os_milliseconds(); /* else the first span that is freed would count as idle */
}

static size_t bytes(size_t granules) {
    return granules << HAK_GRANULE_SHIFT;
}

static uintptr_t start_of(const hak_region *region, const hak_span *span) {
    return region->base + bytes((size_t)(span - (const hak_span *)region->records));
}

/* Writes both records of a span. */
static void describe(hak_span *span, uint32_t granules, hak_span_state state) {
    hak_span *last = span + granules - 1;
    span->granules = last->granules = granules;
    span->state = last->state = (uint8_t)state;
}

/* Makes a span free and puts it into the lists. */
static void list_free(hak_region_kind kind, hak_span *span, uint32_t granules, uint32_t dirty, bool zeroed) {
    describe(span, granules, HAK_SPAN_FREE);
    span->kind = (uint8_t)kind;
    span->dirty = dirty;
    span->zeroed = zeroed;
    span->freed_at = now;
    hak_span_index_add(span);
    if (dirty != 0) {
        hak_list_push_back(&by_age, &span->age);
        hak_counter_add(&hak_release_large_dirty, bytes(dirty));
    }
}

static void unlist_free(hak_span *span) {
    HAK_CHECK(span->state == HAK_SPAN_FREE, "span in a list is not free");
    hak_span_index_remove(span);
    if (span->dirty != 0) {
        hak_list_remove(&span->age);
        hak_counter_sub(&hak_release_large_dirty, bytes(span->dirty));
    }
    /* Its last record goes stale inside of what it becomes part of: fewer stores (docs/decisions/006). */
    span->state = HAK_SPAN_NONE;
}

static uint32_t min32(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

/* Of a span's `dirty` granules, those left when the first `taken` ones go: where they lie is not known, but the front is
 * used most. A span that is not known to be clean keeps at least one. */
static uint32_t dirty_after(uint32_t dirty, uint32_t taken) {
    return dirty > taken ? dirty - taken : dirty != 0;
}

/* The record behind the last one of what the region has in use. */
static hak_span *end_of(const hak_region *region) {
    return (hak_span *)region->records + (region->used >> HAK_GRANULE_SHIFT);
}

/* The free neighbours of [span, span + granules), NULL where there is none. */
static hak_span *free_before(const hak_region *region, hak_span *span) {
    if (span == (hak_span *)region->records || span[-1].state != HAK_SPAN_FREE)
        return NULL;
    return span - span[-1].granules;
}
static hak_span *free_after(const hak_region *region, hak_span *span, uint32_t granules) {
    span += granules;
    return span < end_of(region) && span->state == HAK_SPAN_FREE ? span : NULL;
}

/* Frees a run of granules: merges it with free neighbours and lists the result, which is returned. */
static hak_span *release_run(hak_region *region, hak_span *span, uint32_t granules, uint32_t dirty,
                             bool zeroed) {
    hak_span *before = free_before(region, span), *after = free_after(region, span, granules);
    if (before != NULL) {
        unlist_free(before);
        granules += before->granules;
        dirty += before->dirty;
        zeroed = zeroed && before->zeroed;
        span = before;
    }
    if (after != NULL) {
        unlist_free(after);
        granules += after->granules;
        dirty += after->dirty;
        zeroed = zeroed && after->zeroed;
    }
    list_free(region->kind, span, granules, dirty, zeroed);
    return span;
}

/* Takes `need` granules, beginning `skip` granules into the free span; what is left stays free. */
static hak_span *carve(hak_span *span, uint32_t skip, uint32_t need) {
    unlist_free(span);
    uint32_t total = span->granules, rest = total - skip - need;
    uint32_t dirty = span->dirty;
    bool zeroed = span->zeroed;
    hak_region_kind kind = (hak_region_kind)span->kind;
    if (skip != 0)
        list_free(kind, span, skip, min32(dirty, skip), zeroed);
    if (rest != 0)
        list_free(kind, span + skip + need, rest, min32(dirty_after(dirty, skip + need), rest), zeroed);
    span += skip;
    span->zeroed = zeroed;
    return span;
}

/* Takes more of the region's unused part, merged with the free span before it; NULL when the OS refuses. */
static hak_span *grow(hak_region_kind kind, uint32_t granules) {
    hak_region *region;
    uintptr_t addr = hak_region_take(kind, bytes(granules), &region);
    if (addr == 0)
        return NULL;
    return release_run(region, hak_region_record(region, addr), granules, 0, true);
}

/* A span of `need` granules at a multiple of `align`, not yet live, and its region. */
static hak_span *take_span(uint32_t need, size_t align, hak_region **region) {
    uint32_t slack = align > HAK_GRANULE ? (uint32_t)(align >> HAK_GRANULE_SHIFT) - 1 : 0;
    hak_region_kind kind = hak_policy_large_kind(align);
    hak_span *span = hak_span_index_find(kind, need + slack);
    if (span == NULL)
        span = grow(kind, need + slack);
    if (span == NULL)
        return NULL;
    *region = hak_span_region(span);
    uintptr_t start = start_of(*region, span);
    uint32_t skip = (uint32_t)((hak_align_up(start, align) - start) >> HAK_GRANULE_SHIFT);
    return carve(span, skip, need);
}

void *hak_large_take(size_t size, size_t align, bool *zeroed, size_t *capacity) {
    size_t gap = hak_policy_large_gap(size), total;
    if (!hak_add_checked(size, gap, &total) || !hak_align_up_checked(total, HAK_GRANULE, &total) ||
        total >= (size_t)1 << HAK_ADDRESS_BITS || align >= (size_t)1 << HAK_ADDRESS_BITS)
        return NULL;
    void *obj = NULL;
    hak_lock_take(&hak_large_lock);
    hak_region *region;
    hak_span *span = take_span((uint32_t)(total >> HAK_GRANULE_SHIFT), align, &region);
    if (span != NULL) {
        describe(span, (uint32_t)(total >> HAK_GRANULE_SHIFT), HAK_SPAN_LIVE);
        span->capacity = hak_align_up(size, hak_os_page);
        uintptr_t start = start_of(region, span);
        hak_tag_set_one(start, HAK_TAG_LARGE);
        hak_counter_add(&hak_release_large_live, span->capacity);
        hak_counter_add(&hak_large_count, 1);
        hak_counter_add(&hak_large_operations, 1);
        *capacity = span->capacity;
        if (zeroed != NULL)
            *zeroed = span->zeroed;
        obj = (void *)start;
    }
    hak_lock_give(&hak_large_lock);
    return obj;
}

/* The live span that begins at `obj`, and its region; NULL when there is none. */
static hak_span *live_span_of(const void *obj, hak_region **out) {
    hak_region *region = *out = hak_region_find((uintptr_t)obj);
    if (region == NULL || !hak_region_is_large(region) || !hak_region_unit_begins(region, (uintptr_t)obj) ||
        hak_tag_of(obj) != HAK_TAG_LARGE)
        return NULL;
    return hak_region_record(region, (uintptr_t)obj);
}
static hak_span *live_span(const void *obj) {
    hak_region *region;
    return live_span_of(obj, &region);
}

size_t hak_large_capacity(const void *obj) {
    hak_span *span = live_span(obj);
    return span == NULL ? 0 : span->capacity;
}

/* The live span's object gets another size. Returns its capacity. */
static size_t set_capacity(hak_span *span, size_t size) {
    size_t capacity = hak_align_up(size, hak_os_page);
    hak_counter_add(&hak_release_large_live, capacity - span->capacity);
    span->capacity = capacity;
    return capacity;
}

void hak_large_again(void *obj, size_t size, size_t *capacity) {
    hak_lock_take(&hak_large_lock);
    hak_span *span = live_span(obj);
    HAK_CHECK(span != NULL && size <= bytes(span->granules), "span of a kept object");
    *capacity = set_capacity(span, size);
    hak_counter_add(&hak_large_operations, 2);
    hak_lock_give(&hak_large_lock);
}

/* Gives one free span's pages back; false when the OS refuses. It is no longer in the list by age then. */
static bool purge_span(hak_span *span) {
    uintptr_t start = start_of(hak_span_region(span), span);
    hak_list_remove(&span->age);
    hak_counter_sub(&hak_release_large_dirty, bytes(span->dirty));
    span->dirty = 0;
    if (!hak_release_range(start, bytes(span->granules)))
        return false;
    span->zeroed = hak_release_zeroes();
    return true;
}

/* Purges the oldest spans while more than `keep` bytes may be resident, and only those that were freed before `before`. */
static size_t purge_locked(size_t keep, uint64_t before) {
    size_t purged = 0;
    while (!hak_list_empty(&by_age) && hak_release_large_dirty > keep) {
        hak_span *span = HAK_OWNER_OF(by_age.next, hak_span, age);
        if (span->freed_at > before)
            break;
        size_t dirty = bytes(span->dirty);
        purged += purge_span(span) ? dirty : 0;
    }
    return purged;
}

size_t hak_large_purge(size_t keep) {
    hak_lock_take(&hak_large_lock);
    size_t purged = purge_locked(keep, UINT64_MAX);
    hak_lock_give(&hak_large_lock);
    return purged;
}

static void release_idle_locked(const hak_release_bounds *bounds) {
    now = hak_os_milliseconds();
    if (now > bounds->idle_ms)
        (void)purge_locked(0, now - bounds->idle_ms);
    if (now > bounds->unused_ms)
        (void)purge_locked(bounds->wanted, now - bounds->unused_ms);
}

void hak_large_release_idle(void) {
    if (atomic_load_explicit(&hak_release_large_dirty, memory_order_relaxed) == 0)
        return;
    hak_lock_take(&hak_large_lock);
    hak_release_bounds bounds = hak_release_large_bounds();
    release_idle_locked(&bounds);
    hak_lock_give(&hak_large_lock);
}

/* What the release policy wants after a free. The clock is read only now and then. */
static void release_locked(void) {
    hak_release_bounds bounds = hak_release_large_bounds();
    size_t most = hak_release_excess() != 0 ? 0 : bounds.most;
    if (HAK_UNLIKELY(hak_release_large_dirty > most))
        (void)purge_locked(most, UINT64_MAX);
    if (frees++ % CLOCK_PERIOD == 0)
        release_idle_locked(&bounds);
}

/* The object's granules become free; everything but the bookkeeping of life is done. */
static void free_locked(hak_region *region, hak_span *span) {
    uint32_t dirty = (uint32_t)(hak_align_up(span->capacity, HAK_GRANULE) >> HAK_GRANULE_SHIFT);
    span = release_run(region, span, span->granules, dirty, false);
    if (region->limited && bytes(span->granules) == region->used) {
        unlist_free(span);
        hak_region_dies(region);
        return;
    }
    release_locked();
}

bool hak_large_give(void *obj) {
    hak_lock_take(&hak_large_lock);
    hak_region *region;
    hak_span *span = live_span_of(obj, &region);
    if (span != NULL) {
        hak_tag_set_one((uintptr_t)obj, HAK_TAG_NONE);
        hak_counter_sub(&hak_release_large_live, span->capacity);
        hak_counter_sub(&hak_large_count, 1);
        hak_counter_add(&hak_large_operations, 1);
        free_locked(region, span);
    }
    hak_lock_give(&hak_large_lock);
    return span != NULL;
}

/* A free span of at least `more` granules right behind the live one; NULL: there is none. At the end of what the region has in use
 * it is made longer: what grows and grows, as vectors and string builders do, stays where it is. */
static hak_span *room_behind(hak_region *region, hak_span *span, uint32_t more) {
    hak_span *after = free_after(region, span, span->granules);
    uint32_t have = after != NULL ? after->granules : 0;
    hak_span *next = span + span->granules + have;
    if (have >= more)
        return after;
    if (next != end_of(region) || !hak_region_take_more(region, bytes(more - have)))
        return NULL;
    return release_run(region, next, more - have, 0, true);
}

/* Grows the span to `need` granules; false when there is no room behind it. */
static bool extend(hak_region *region, hak_span *span, uint32_t need) {
    uint32_t more = need - span->granules;
    hak_span *after = room_behind(region, span, more);
    if (after == NULL)
        return false;
    (void)carve(after, 0, more);
    describe(span, span->granules, HAK_SPAN_NONE);
    describe(span, need, HAK_SPAN_LIVE);
    return true;
}

static void shrink(hak_region *region, hak_span *span, uint32_t need) {
    uint32_t rest = span->granules - need;
    describe(span, span->granules, HAK_SPAN_NONE);
    describe(span, need, HAK_SPAN_LIVE);
    release_run(region, span + need, rest, rest, false);
}

bool hak_large_resize(void *obj, size_t size, size_t *capacity) {
    size_t total = hak_align_up(size + hak_policy_large_gap(size), HAK_GRANULE);
    uint32_t need = (uint32_t)(total >> HAK_GRANULE_SHIFT);
    hak_lock_take(&hak_large_lock);
    hak_span *span = live_span(obj);
    bool done = span != NULL && total < (size_t)1 << HAK_ADDRESS_BITS;
    if (done) {
        hak_region *region = hak_span_region(span);
        if (need > span->granules)
            done = extend(region, span, need);
        else if (need < span->granules)
            shrink(region, span, need);
    }
    if (done) {
        size_t before = span->capacity;
        *capacity = set_capacity(span, size);
        if (*capacity < before)
            release_locked();
    }
    hak_lock_give(&hak_large_lock);
    return done;
}

bool hak_large_move(void *from, void *to, size_t size) {
    if (size < MOVE_MIN)
        return false;
    hak_lock_take(&hak_large_lock);
    bool allowed = moves < MOVES_MAX;
    moves += allowed;
    hak_lock_give(&hak_large_lock);
    return allowed && hak_os_move((uintptr_t)from, (uintptr_t)to, hak_align_up(size, hak_os_page));
}

static HAK_WALKER void check_region(hak_region *region) {
    hak_span *span = (hak_span *)region->records;
    hak_span *end = end_of(region);
    bool was_free = false;
    while (span < end) {
        bool is_free = span->state == HAK_SPAN_FREE;
        HAK_CHECK(span->granules >= 1 && span->granules <= (size_t)(end - span), "length of span");
        HAK_CHECK(span->state != HAK_SPAN_NONE && span[span->granules - 1].granules == span->granules &&
                      span[span->granules - 1].state == span->state,
                  "last record of span");
        HAK_CHECK(!(is_free && was_free), "free neighbours were not merged");
        HAK_CHECK((hak_tag_of((void *)start_of(region, span)) == HAK_TAG_LARGE) == !is_free, "tag of span");
        was_free = is_free;
        span += span->granules;
    }
}

HAK_WALKER void hak_large_check(void) {
    hak_lock_take(&hak_large_lock);
    unsigned used = atomic_load(&hak_regions_used);
    for (unsigned i = 0; i < used; i++)
        if (hak_regions[i].size != 0 && hak_region_is_large(&hak_regions[i]))
            check_region(&hak_regions[i]);
    hak_span_index_check();
    hak_lock_give(&hak_large_lock);
}
