/* large.c: see large.h. */
#include "allocator/heap/large.h"

#include "allocator/base/probe.h"
#include "allocator/heap/huge.h"
#include "allocator/heap/span_index.h"
#include "allocator/heap/tail.h"
#include "allocator/os/os.h"
#include "allocator/pages/mapped_limit.h"
#include "allocator/pages/release.h"
#include "allocator/pages/tag.h"
#include "allocator/policy.h"

hak_lock hak_large_lock = HAK_LOCK_INIT(HAK_RANK_LARGE);
_Atomic size_t hak_large_count, hak_large_operations;

enum {
    /* Most live objects whose pages were moved. Each is a mapping of its own, of which a process may have
     * 65,530. Beyond this number objects are copied. */
    MOVES_MAX = 4096,
    ZERO_BY_PURGE = 8 * HAK_MIB >> HAK_GRANULE_SHIFT,
    MOVE_MIN = HAK_MIB, /* below, a copy is as quick as the system call and its page faults */
};

static unsigned moved;

void hak_large_init(void) {
    for (unsigned kind = HAK_REGION_LARGE; kind < HAK_REGION_KINDS; kind++)
        hak_region_define((hak_region_kind)kind, HAK_GRANULE_SHIFT, sizeof(hak_span));
    hak_span_init();
    hak_huge_init();
    hak_tail_init();
    moved = 0;
}

/* Granules of a span for an object of `size` bytes, gap included; 0: more than the address space has. */
static uint32_t granules_for(size_t size) {
    size_t total;
    if (!hak_add_checked(size, hak_policy_large_gap(size), &total) ||
        !hak_align_up_checked(total, HAK_GRANULE, &total) || total >= (size_t)1 << HAK_ADDRESS_BITS)
        return 0;
    return (uint32_t)(total >> HAK_GRANULE_SHIFT);
}

/* Makes the span a live object of `size` bytes. Returns its capacity. */
static size_t make_live(hak_region *region, hak_span *span, uint32_t granules, size_t size) {
    hak_span_describe(span, granules, HAK_SPAN_LIVE);
    span->moved = span->hollow = false;
    span->tail = 0;
    span->capacity = hak_align_up(size, hak_os_page);
    hak_tag_set_one(hak_span_start(region, span), HAK_TAG_LARGE);
    hak_counter_add(&hak_release_large_live, span->capacity);
    return span->capacity;
}

/* Makes the span read as zero by purging it, where that beats clearing it: most of it is not resident, or it is
 * long. Also purges a span that should be zero when the policy doubts it: an attacker who writes there through
 * a wild pointer would choose the contents of calloc's object. */
static bool make_zero(hak_region *region, hak_span *span, uint32_t granules) {
    return (span->zeroed || span->dirty < granules / 2 || granules >= ZERO_BY_PURGE) &&
           hak_os_purge(hak_span_start(region, span), hak_span_bytes(granules), HAK_PURGE_NOW);
}

void *hak_large_take_typed(size_t size, size_t align, unsigned partition, bool *zeroed, size_t *capacity) {
    uint32_t need = granules_for(size);
    if (need == 0 || align >= (size_t)1 << HAK_ADDRESS_BITS)
        return NULL;
    void *obj = NULL;
    hak_lock_take(&hak_large_lock);
    hak_region *region;
    hak_span *span = hak_span_take(hak_policy_large_kind(align, partition), need, align, &region);
    if (span != NULL) {
        if (zeroed != NULL)
            *zeroed = (span->zeroed && !HAK_POLICY_DOUBTS_ZERO) || make_zero(region, span, need);
        *capacity = make_live(region, span, need, size);
        hak_counter_add(&hak_large_count, 1);
        hak_counter_add(&hak_large_operations, 1);
        hak_huge_turned(hak_span_bytes(span->dirty));
        obj = (void *)hak_span_start(region, span);
    }
    hak_lock_give(&hak_large_lock);
    HAK_PROBE(large, obj, size);
    return obj;
}

/* The live span that begins at `obj`; stores its region. NULL when there is none. */
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

size_t hak_large_reach(const void *obj) {
    hak_span *span = live_span(obj);
    return span == NULL ? 0 : hak_tail_start(span);
}

/* Sets the size of the live span's object. Returns its capacity. */
static size_t set_capacity(hak_span *span, size_t size) {
    size_t capacity = hak_align_up(size, hak_os_page);
    hak_counter_add(&hak_release_large_live, capacity - span->capacity);
    span->capacity = capacity;
    return capacity;
}

size_t hak_large_purge(size_t keep) {
    hak_lock_take(&hak_large_lock);
    size_t purged = hak_span_purge(keep, UINT64_MAX, false);
    hak_lock_give(&hak_large_lock);
    return purged;
}

size_t hak_large_hollow(void) {
    hak_lock_take(&hak_large_lock);
    size_t bytes = hak_span_hollow_all();
    hak_lock_give(&hak_large_lock);
    return bytes;
}

size_t hak_large_cut_tails(void) {
    hak_lock_take(&hak_large_lock);
    size_t bytes = hak_tail_cut_all();
    hak_lock_give(&hak_large_lock);
    return bytes;
}

void hak_large_release_idle(uint64_t now) {
    hak_lock_take(&hak_large_lock);
    hak_span_release_idle(now);
    hak_lock_give(&hak_large_lock);
}

/* Applies the release policy after so many bytes were freed. */
static void release_locked(size_t freed) {
    hak_lock_check_held(&hak_large_lock);
    size_t most = hak_release_excess() != 0 ? 0 : hak_release_large_most(freed);
    if (HAK_LIKELY(hak_release_large_dirty <= most))
        return;
    /* Under a limit a little less stays, so that the next objects that come and go cost no system call. */
    size_t keep = hak_limit_is_there() ? most - most / 4 : most;
    hak_release_large_given(hak_span_purge(keep, UINT64_MAX, freed >= HAK_RELEASE_OVERSIZE));
}

/* Unmaps all mapped memory of the live span. False: the OS refused, and nothing has changed. */
static bool unmap(hak_region *region, hak_span *span) {
    bool done = hak_region_hollow(region, hak_span_start(region, span), hak_tail_start(span));
    if (done) {
        hak_tail_keep(span, 0);
        hak_span_hollowed(region, span, span->granules);
    }
    return done;
}

/* Unmaps the span if it is a mapping of its own in the kernel: moved pages, or a span without its tail. */
static bool unmap_own(hak_region *region, hak_span *span) {
    if (!span->moved && span->tail == 0)
        return false;
    moved -= span->moved;
    span->moved = false;
    return unmap(region, span);
}

/* Frees the object's granules. The caller has ended the object's life. */
static void free_locked(hak_region *region, hak_span *span) {
    hak_lock_check_held(&hak_large_lock);
    bool hollow = span->hollow || unmap_own(region, span);
    if (span->tail != 0 && !hak_tail_fill(region, span, SIZE_MAX)) {
        hak_tail_keep(span, 0);
        hak_span_describe(span, span->granules, HAK_SPAN_LOST); /* only a part of it is mapped */
        return;
    }
    uint32_t dirty = (uint32_t)(hak_align_up(span->capacity, HAK_GRANULE) >> HAK_GRANULE_SHIFT);
    hak_span_give(region, span, span->granules, (hak_span_content){hollow ? 0 : dirty, hollow, hollow});
    release_locked(span->capacity);
}

bool hak_large_empty_locked(void *obj) {
    hak_lock_check_held(&hak_large_lock);
    hak_region *region;
    hak_span *span = live_span_of(obj, &region);
    if (span == NULL || span->hollow || !unmap(region, span))
        return false;
    span->hollow = true;
    hak_counter_sub(&hak_release_large_live, span->capacity);
    hak_policy_large_hollowed(region, (uintptr_t)obj, hak_span_bytes(span->granules));
    return true;
}

bool hak_large_empty(void *obj) {
    hak_lock_take(&hak_large_lock);
    bool done = hak_large_empty_locked(obj);
    hak_lock_give(&hak_large_lock);
    return done;
}

bool hak_large_is_empty(const void *obj) {
    hak_span *span = live_span(obj);
    return span != NULL && span->hollow;
}

bool hak_large_give(void *obj) {
    hak_lock_take(&hak_large_lock);
    hak_region *region;
    hak_span *span = live_span_of(obj, &region);
    if (span != NULL) {
        hak_tag_set_one((uintptr_t)obj, HAK_TAG_NONE);
        hak_counter_sub(&hak_release_large_live, span->hollow ? 0 : span->capacity);
        hak_counter_sub(&hak_large_count, 1);
        hak_counter_add(&hak_large_operations, 1);
        free_locked(region, span);
    }
    hak_lock_give(&hak_large_lock);
    HAK_PROBE(large_end, obj, span != NULL);
    return span != NULL;
}

static void shrink(hak_region *region, hak_span *span, uint32_t need) {
    uint32_t rest = span->granules - need;
    uintptr_t start = hak_span_start(region, span + need);
    size_t bytes = hak_span_bytes(rest), tail = span->tail * hak_os_page, gone = hak_min(tail, bytes);
    bool hollow = (span->moved || tail != 0 || hak_policy_unmaps(bytes)) &&
                  (gone == bytes || hak_region_hollow(region, start, bytes - gone));
    if (tail != 0 && !hollow)
        return; /* only a part of the rest is mapped */
    hak_tail_keep(span, (tail - gone) / hak_os_page);
    hak_span_describe(span, span->granules, HAK_SPAN_NONE);
    hak_span_describe(span, need, HAK_SPAN_LIVE);
    if (hollow) {
        hak_policy_large_hollowed(region, start, bytes);
        hak_span_hollowed(region, span + need, rest);
    }
    hak_span_give(region, span + need, rest, (hak_span_content){hollow ? 0 : rest, hollow, hollow});
}

bool hak_large_resize(void *obj, size_t size, size_t *capacity) {
    uint32_t need = granules_for(size);
    hak_lock_take(&hak_large_lock);
    hak_region *region;
    hak_span *span = live_span_of(obj, &region);
    bool done = span != NULL && need != 0 && hak_tail_fill(region, span, size);
    if (done && need > span->granules)
        done = hak_span_extend(region, span, need - span->granules);
    else if (done && need < span->granules && !hak_policy_tail_stays())
        shrink(region, span, need);
    if (done) {
        size_t before = span->capacity;
        *capacity = set_capacity(span, size);
        if (*capacity < before)
            release_locked(before - *capacity);
    }
    hak_lock_give(&hak_large_lock);
    return done;
}

/* Moves the object of `from` to the hollow span `to` of `granules`. False: the OS refused, and nothing has
 * changed. */
static bool move_pages(hak_region *old, hak_span *from, hak_region *region, hak_span *to, uint32_t granules,
                       size_t size) {
    if (!hak_region_move(old, hak_span_start(old, from), hak_tail_start(from), region,
                         hak_span_start(region, to), hak_span_bytes(granules)))
        return false;
    hak_tail_keep(from, 0);
    (void)make_live(region, to, granules, size);
    hak_span_filled(region, to, granules);
    to->moved = true;
    moved += !from->moved;
    hak_tag_set_one(hak_span_start(old, from), HAK_TAG_NONE);
    hak_counter_sub(&hak_release_large_live, from->capacity);
    hak_span_hollowed(old, from, from->granules);
    hak_span_give(old, from, from->granules, (hak_span_content){0, true, true});
    return true;
}

void *hak_large_move(void *obj, size_t size, size_t *capacity) {
    uint32_t need = granules_for(size);
    void *result = NULL;
    hak_lock_take(&hak_large_lock);
    hak_region *old, *region;
    hak_span *from = live_span_of(obj, &old);
    bool pays = from != NULL && from->capacity >= MOVE_MIN && need > from->granules && moved < MOVES_MAX;
    hak_span *to = pays ? hak_span_take_hollow(old->kind, need, &region) : NULL;
    if (to != NULL && move_pages(old, from, region, to, need, size)) {
        *capacity = to->capacity;
        result = (void *)hak_span_start(region, to);
    } else if (to != NULL)
        hak_span_give(region, to, need, (hak_span_content){0, true, true});
    hak_lock_give(&hak_large_lock);
    return result;
}

HAK_WALKER void hak_large_check(void) {
    hak_lock_take(&hak_large_lock);
    unsigned used = atomic_load(&hak_regions_used);
    size_t holes = 0;
    for (unsigned i = 0; i < used; i++)
        if (hak_regions[i].size != 0 && hak_region_is_large(&hak_regions[i]))
            holes += hak_span_check(&hak_regions[i]);
    HAK_CHECK(holes == hak_span_holes, "number of gaps");
    hak_span_index_check();
    hak_lock_give(&hak_large_lock);
}
