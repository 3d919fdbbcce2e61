/* span.c: see span.h. */
#include "allocator/heap/span.h"

#include "allocator/heap/large.h"
#include "allocator/heap/span_index.h"
#include "allocator/os/os.h"
#include "allocator/pages/mapped_limit.h"
#include "allocator/pages/release.h"
#include "allocator/pages/tag.h"
#include "allocator/policy.h"

/* Least bytes of a long span that are purged at once, to make fewer system calls. */
enum { PURGE_MIN = 4 * HAK_MIB };

_Atomic size_t hak_span_holes;

static hak_link by_age;  /* free dirty spans, the oldest first */
static uint64_t now;     /* milliseconds, as of the last pass of idle.c */
static uint64_t decayed; /* time of the last hak_release_large_decay */
static size_t highest;   /* highest hak_release_large_dirty since then */

void hak_span_init(void) {
    hak_span_index_init();
    hak_list_init(&by_age);
    highest = 0;
    atomic_store_explicit(&hak_span_holes, 0, memory_order_relaxed);
    decayed = now = hak_os_milliseconds(); /* else the first span that is freed would count as idle */
}

/* When a span was freed, and the link before it in the list by age. */
typedef struct place {
    uint64_t freed_at;
    hak_link *behind;
} place;

static place place_of(const hak_span *span) {
    return (place){span->freed_at, span->dirty != 0 ? span->age.prev : by_age.prev};
}

/* Makes a span free and adds it to the lists. */
HAK_INLINE void list_free(hak_region_kind kind, hak_span *span, uint32_t granules, hak_span_content content,
                          place place) {
    hak_span_describe(span, granules, HAK_SPAN_FREE);
    span->kind = (uint8_t)kind;
    span->dirty = content.dirty;
    span->zeroed = content.zeroed;
    span->hollow = span[granules - 1].hollow = content.hollow;
    span->freed_at = place.freed_at;
    hak_span_index_add(span);
    if (content.dirty != 0) {
        hak_list_insert_after(place.behind, &span->age);
        hak_counter_add(&hak_release_large_dirty, hak_span_bytes(content.dirty));
    }
}

static void unlist_free(hak_span *span) {
    HAK_CHECK(span->state == HAK_SPAN_FREE, "span in a list is not free");
    hak_span_index_remove(span);
    if (span->dirty != 0) {
        hak_list_remove(&span->age);
        hak_counter_sub(&hak_release_large_dirty, hak_span_bytes(span->dirty));
    }
    /* Its last record becomes part of a longer span and stays stale there, which saves stores
     * (docs/decisions/006). */
    span->state = HAK_SPAN_NONE;
}

static uint32_t min32(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

/* How many of a span's `dirty` granules are left when its first `taken` granules go. Their places are unknown,
 * but the front is used most. A span that is not known to be clean keeps at least one. */
static uint32_t dirty_after(uint32_t dirty, uint32_t taken) {
    return dirty > taken ? dirty - taken : dirty != 0;
}

/* The free neighbours of [span, span + granules), NULL where there is none. */
static hak_span *free_before(const hak_region *region, hak_span *span) {
    if (span == (hak_span *)region->records || span[-1].state != HAK_SPAN_FREE)
        return NULL;
    return span - span[-1].granules;
}
static hak_span *free_after(const hak_region *region, hak_span *span, uint32_t granules) {
    span += granules;
    return span < hak_span_end_of(region) && span->state == HAK_SPAN_FREE ? span : NULL;
}

static bool is_gap(const hak_span *span) {
    return span->hollow && (span->state == HAK_SPAN_FREE || span->state == HAK_SPAN_LIVE);
}

static size_t gaps_beside(hak_region *region, hak_span *span, uint32_t granules) {
    hak_lock_check_held(&hak_large_lock);
    hak_span *after = span + granules;
    bool first = span == (hak_span *)region->records || span[-1].state == HAK_SPAN_NONE;
    return (size_t)(!first && is_gap(span - span[-1].granules)) +
           (after < hak_span_end_of(region) && is_gap(after));
}
void hak_span_hollowed(hak_region *region, hak_span *span, uint32_t granules) {
    hak_counter_add(&hak_span_holes, 1 - gaps_beside(region, span, granules)); /* wraps around */
}
void hak_span_filled(hak_region *region, hak_span *span, uint32_t granules) {
    hak_counter_add(&hak_span_holes, gaps_beside(region, span, granules) - 1);
}

static hak_span_content content_of(const hak_span *span) {
    return (hak_span_content){span->dirty, span->zeroed, span->hollow};
}
static hak_span_content both(hak_span_content a, hak_span_content b) {
    return (hak_span_content){a.dirty + b.dirty, a.zeroed && b.zeroed, a.hollow};
}

/* Merges a neighbour into a span that is freed. The part with the most dirty granules gives the whole its age;
 * otherwise light work beside an idle span would keep it young. */
HAK_INLINE void merge(hak_span *neighbour, hak_span_content *content, place *place, uint32_t *largest) {
    if (neighbour->dirty > *largest) {
        *largest = neighbour->dirty;
        *place = place_of(neighbour);
    } else if (place->behind == &neighbour->age)
        place->behind = neighbour->age.prev;
    unlist_free(neighbour);
    *content = both(*content, content_of(neighbour));
}

/* As hak_span_give. Returns the merged span. */
static hak_span *give(hak_region *region, hak_span *span, uint32_t granules, hak_span_content content) {
    hak_span *before = free_before(region, span), *after = free_after(region, span, granules);
    place place = {now, by_age.prev};
    uint32_t largest = content.dirty;
    bool hollow = content.hollow;
    if (before != NULL && before->hollow == hollow) {
        merge(before, &content, &place, &largest);
        granules += before->granules;
        span = before;
    }
    if (after != NULL && after->hollow == hollow) {
        merge(after, &content, &place, &largest);
        granules += after->granules;
    }
    list_free(region->kind, span, granules, content, place);
    highest = hak_max(highest, hak_release_large_dirty);
    return span;
}

void hak_span_give(hak_region *region, hak_span *span, uint32_t granules, hak_span_content content) {
    hak_lock_check_held(&hak_large_lock);
    (void)give(region, span, granules, content);
}

/* Takes the first `need` granules of a longer free span. The rest keeps its place in the list by age. */
static hak_span *carve_front(hak_span *span, uint32_t need) {
    uint32_t rest = span->granules - need, dirty = min32(dirty_after(span->dirty, need), rest);
    hak_span *left = span + need;
    hak_span_index_remove(span);
    hak_span_describe(left, rest, HAK_SPAN_FREE);
    left->kind = span->kind;
    left->dirty = dirty;
    left->zeroed = span->zeroed;
    left->hollow = left[rest - 1].hollow = span->hollow;
    left->freed_at = span->freed_at;
    hak_span_index_add(left);
    if (dirty != 0) {
        hak_list_replace(&span->age, &left->age);
        hak_counter_sub(&hak_release_large_dirty, hak_span_bytes(span->dirty - dirty));
    }
    span->state = HAK_SPAN_NONE;
    span->dirty = min32(span->dirty, need);
    return span;
}

/* Takes `need` granules, beginning `skip` granules into the free span; the rest stays free. */
static hak_span *carve(hak_span *span, uint32_t skip, uint32_t need) {
    if (HAK_LIKELY(skip == 0 && span->granules != need))
        return carve_front(span, need);
    place place = place_of(span); /* the rest keeps its age */
    unlist_free(span);
    uint32_t rest = span->granules - skip - need;
    hak_span_content content = content_of(span), part = content;
    hak_region_kind kind = (hak_region_kind)span->kind;
    if (skip != 0) {
        part.dirty = min32(content.dirty, skip);
        list_free(kind, span, skip, part, place);
    }
    if (rest != 0) {
        part.dirty = min32(dirty_after(content.dirty, skip + need), rest);
        list_free(kind, span + skip + need, rest, part, place);
    }
    span += skip;
    span->zeroed = content.zeroed;
    span->hollow = content.hollow;
    span->dirty = min32(content.dirty, need);
    return span;
}

/* Takes more of the region's unused part, merged with the free span before it. NULL: the OS refused. */
static hak_span *grow(hak_region_kind kind, uint32_t granules, bool hollow) {
    hak_region *region;
    size_t bytes = hak_span_bytes(granules);
    if (!hollow)
        hak_superslab_exchange(bytes);
    uintptr_t addr =
        hollow ? hak_region_take_hollow(kind, bytes, &region) : hak_region_take(kind, bytes, &region);
    if (addr == 0)
        return NULL;
    hak_span *span = hak_region_record(region, addr);
    if (hollow)
        hak_span_hollowed(region, span, granules);
    return give(region, span, granules, (hak_span_content){0, true, hollow});
}

/* Maps the carved span, or makes it hollow. On failure the span is free again, or lost. */
static HAK_NOINLINE hak_map_result make_hollow(hak_region *region, hak_span *span, uint32_t granules,
                                               bool hollow) {
    uintptr_t start = hak_span_start(region, span);
    size_t bytes = hak_span_bytes(granules);
    bool was = span->hollow;
    if (was == hollow)
        return HAK_MAP_DONE;
    hak_map_result result = !hollow                                   ? hak_region_fill(region, start, bytes)
                            : hak_region_hollow(region, start, bytes) ? HAK_MAP_DONE
                                                                      : HAK_MAP_REFUSED;
    if (result == HAK_MAP_REFUSED) {
        hak_span_give(region, span, granules, (hak_span_content){was ? 0 : granules, was, was});
        return result;
    }
    if (hollow)
        hak_span_hollowed(region, span, granules);
    else
        hak_span_filled(region, span, granules);
    if (result == HAK_MAP_TAKEN) {
        hak_span_describe(span, granules, HAK_SPAN_LOST);
        return result;
    }
    hak_policy_large_hollowed(region, start, bytes);
    span->hollow = hollow;
    span->zeroed = true;
    return result;
}

/* A free span of at least `granules`, from the lists or new. NULL: the OS refused. */
static hak_span *find_or_grow(hak_region_kind kind, uint32_t granules, bool prefer_hollow) {
    if (!hak_span_index_open(kind))
        return NULL;
    hak_span *span = hak_span_index_find(kind, granules);
    if (span == NULL && prefer_hollow)
        span = grow(kind, granules, true);
    return span != NULL ? span : grow(kind, granules, false);
}

hak_span *hak_span_take(hak_region_kind kind, uint32_t need, size_t align, hak_region **region) {
    hak_lock_check_held(&hak_large_lock);
    uint32_t slack = align > HAK_GRANULE ? (uint32_t)(align >> HAK_GRANULE_SHIFT) - 1 : 0;
    /* The part before a wide alignment, such as 4 GiB, need not be mapped. */
    bool far = hak_span_bytes(slack) > HAK_SUPERSLAB;
    hak_map_result result;
    hak_span *span;
    do {
        span = find_or_grow(kind, need + slack, far);
        if (span == NULL)
            return NULL;
        *region = hak_span_region(span);
        uintptr_t start = hak_span_start(*region, span);
        uint32_t skip = (uint32_t)((hak_align_up(start, align) - start) >> HAK_GRANULE_SHIFT);
        span = carve(span, skip, need);
        hak_release_large_missed(hak_span_bytes(need - span->dirty));
        result = HAK_LIKELY(!span->hollow) ? HAK_MAP_DONE : make_hollow(*region, span, need, false);
    } while (result == HAK_MAP_TAKEN); /* ends, because each round makes a free span shorter */
    return result == HAK_MAP_DONE ? span : NULL;
}

hak_span *hak_span_take_hollow(hak_region_kind kind, uint32_t need, hak_region **region) {
    hak_lock_check_held(&hak_large_lock);
    if (!hak_span_index_open(kind))
        return NULL;
    hak_span *span = hak_span_index_find(kind, need);
    if (span == NULL)
        span = grow(kind, need, true);
    if (span == NULL)
        return NULL;
    *region = hak_span_region(span);
    span = carve(span, 0, need);
    return make_hollow(*region, span, need, true) == HAK_MAP_DONE ? span : NULL;
}

/* Returns a free span of at least `more` granules right behind the live one; NULL: none. At the end of the
 * region's used part it takes unused memory of the region, so that an object that grows repeatedly, such as a
 * vector or a string builder, stays where it is. */
static hak_span *room_behind(hak_region *region, hak_span *span, uint32_t more) {
    hak_span *after = free_after(region, span, span->granules);
    uint32_t have = after != NULL ? after->granules : 0;
    hak_span *next = span + span->granules + have;
    if (have >= more)
        return after;
    if (next != hak_span_end_of(region) || (after != NULL && after->hollow) ||
        !hak_region_take_more(region, hak_span_bytes(more - have)))
        return NULL;
    return give(region, next, more - have, (hak_span_content){0, true, false});
}

bool hak_span_extend(hak_region *region, hak_span *span, uint32_t more) {
    hak_lock_check_held(&hak_large_lock);
    hak_span *after = room_behind(region, span, more);
    if (after == NULL)
        return false;
    after = carve(after, 0, more);
    if (make_hollow(region, after, more, false) != HAK_MAP_DONE)
        return false;
    uint32_t granules = span->granules + more;
    hak_span_describe(span, span->granules, HAK_SPAN_NONE);
    hak_span_describe(span, granules, HAK_SPAN_LIVE);
    return true;
}

/* How many granules of a free span stay when `bytes` of it are purged. The end is purged, because the front is
 * used first. Splits no huge page, where granules begin with one. */
static uint32_t granules_kept(const hak_span *span, uintptr_t start, size_t bytes) {
    size_t dirty = hak_span_bytes(span->dirty);
    uintptr_t from = start + dirty - hak_min(dirty, hak_max(bytes, PURGE_MIN));
    return (uint32_t)((hak_max(start, hak_align_down(from, HAK_SUPERSLAB)) - start) >> HAK_GRANULE_SHIFT);
}

/* Makes a whole free span hollow, and merges it with hollow neighbours. NULL: the OS refused, and nothing has
 * changed. */
static hak_span *hollow_one(hak_region *region, hak_span *span) {
    uintptr_t start = hak_span_start(region, span);
    uint32_t granules = span->granules;
    if (!hak_region_hollow(region, start, hak_span_bytes(granules)))
        return NULL;
    span = carve(span, 0, granules);
    hak_policy_large_hollowed(region, start, hak_span_bytes(granules));
    hak_span_hollowed(region, span, granules);
    return give(region, span, granules, (hak_span_content){0, true, true});
}

/* Purges `bytes` of one free span, or some more. Returns the purged bytes. When the OS refuses, returns 0, and
 * no longer counts what may be resident there. */
static size_t purge_one(hak_span *span, size_t bytes) {
    hak_region *region = hak_span_region(span);
    uintptr_t start = hak_span_start(region, span);
    uint32_t kept = granules_kept(span, start, bytes);
    size_t dirty = hak_span_bytes(span->dirty);
    /* A purge leaves guards and page tables: they would stay for ever, and each fork copies them. */
    bool unmaps =
        hak_limit_unmaps(hak_span_holes) || (kept == 0 && hak_policy_unmaps(hak_span_bytes(span->granules)));
    if (unmaps && hollow_one(region, span) != NULL)
        return dirty;
    bool done = hak_release_range(start + hak_span_bytes(kept), hak_span_bytes(span->granules - kept));
    if (!done)
        kept = 0;
    if (kept == 0) {
        hak_list_remove(&span->age);
        span->zeroed = done && hak_release_zeroes();
    }
    size_t purged = hak_span_bytes(span->dirty - min32(span->dirty, kept));
    hak_counter_sub(&hak_release_large_dirty, purged);
    span->dirty = min32(span->dirty, kept);
    return done ? purged : 0;
}

size_t hak_span_purge(size_t keep, uint64_t before, bool whole) {
    hak_lock_check_held(&hak_large_lock);
    size_t purged = 0;
    while (!hak_list_empty(&by_age) && hak_release_large_dirty > keep) {
        hak_span *span = HAK_OWNER_OF(by_age.next, hak_span, age);
        if (span->freed_at > before)
            break;
        purged += purge_one(span, whole ? SIZE_MAX : hak_release_large_dirty - keep);
    }
    return purged;
}

void hak_span_release_idle(uint64_t time) {
    hak_lock_check_held(&hak_large_lock);
    now = time;
    uint64_t unused = hak_release_unused_ms(), idle = hak_release_idle_ms();
    if (now - decayed >= unused) {
        decayed = now;
        hak_release_large_decay(highest);
        highest = hak_release_large_dirty;
    }
    if (now > idle)
        (void)hak_span_purge(0, now - idle, true);
    if (now > unused)
        (void)hak_span_purge(hak_min(HAK_RELEASE_LARGE_KEEP_MIN, hak_release_large_most(0)), now - unused,
                             true);
}

/* Makes the free spans of a region hollow. Returns bytes. A span stays unchanged when the OS refuses. */
static size_t hollow_region(hak_region *region) {
    size_t bytes = 0;
    for (hak_span *span = (hak_span *)region->records; span < hak_span_end_of(region);
         span += span->granules) {
        if (span->state != HAK_SPAN_FREE || span->hollow)
            continue;
        size_t own = hak_span_bytes(span->granules);
        hak_span *hollow = hollow_one(region, span);
        if (hollow == NULL)
            continue;
        span = hollow;
        bytes += own;
    }
    return bytes;
}

size_t hak_span_hollow_all(void) {
    hak_lock_check_held(&hak_large_lock);
    size_t bytes = 0;
    for (unsigned i = 0; i < atomic_load_explicit(&hak_regions_used, memory_order_acquire); i++)
        if (hak_regions[i].size != 0 && hak_region_is_large(&hak_regions[i]))
            bytes += hollow_region(&hak_regions[i]);
    return bytes;
}

HAK_WALKER size_t hak_span_check(hak_region *region) {
    size_t holes = 0;
    bool gap = false;
    hak_span *span = (hak_span *)region->records, *end = hak_span_end_of(region), *before = NULL;
    while (span < end) {
        bool is_free = span->state == HAK_SPAN_FREE;
        HAK_CHECK(span->granules >= 1 && span->granules <= (size_t)(end - span), "length of span");
        HAK_CHECK(span->state != HAK_SPAN_NONE && span[span->granules - 1].granules == span->granules &&
                      span[span->granules - 1].state == span->state,
                  "last record of span");
        HAK_CHECK(!(is_free && before != NULL && before->hollow == span->hollow),
                  "free neighbours were not merged");
        HAK_CHECK(!(is_free && span->hollow && span->dirty != 0), "hollow span is dirty");
        HAK_CHECK((hak_tag_of((void *)hak_span_start(region, span)) == HAK_TAG_LARGE) ==
                      (span->state == HAK_SPAN_LIVE),
                  "tag of span");
        holes += !gap && is_gap(span);
        gap = is_gap(span);
        before = is_free ? span : NULL;
        span += span->granules;
    }
    return holes;
}
