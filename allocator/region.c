/* region.c: see region.h. */
#include "allocator/region.h"

#include "allocator/os.h"
#include "allocator/policy.h"
#include "allocator/tag.h"

hak_lock hak_region_lock = HAK_LOCK_INIT(HAK_RANK_REGION);
hak_region hak_regions[HAK_REGIONS_MAX];
_Atomic unsigned hak_regions_used;
size_t hak_region_huge_from = SIZE_MAX;
_Atomic size_t hak_region_mapped, hak_region_committed, hak_region_metadata;

/* What a region of each kind reserves where address space is plentiful. */
static const size_t PLENTY[HAK_REGION_KINDS] = {(size_t)256 << 30, (size_t)1 << 40, (size_t)1 << 40};

enum {
    /* Commit at least this much at once, and at most that: steps double with the region in between. */
    COMMIT_STEP_MIN = 8 * HAK_MIB,
    COMMIT_STEP_MAX = 1024 * HAK_MIB,
    /* In a limited address space, a region takes this part of the limit. */
    LIMITED_PART = 32,
};

static struct {
    unsigned unit_shift;
    size_t record_size;
} kinds[HAK_REGION_KINDS];

static void count(_Atomic size_t *counter, size_t bytes) {
    atomic_fetch_add_explicit(counter, bytes, memory_order_relaxed);
}

void hak_region_define(hak_region_kind kind, unsigned unit_shift, size_t record_size) {
    kinds[kind].unit_shift = unit_shift;
    kinds[kind].record_size = record_size;
}

/* An entry of the table that is free, NULL when none is. */
static hak_region *entry_take(void) {
    unsigned used = atomic_load_explicit(&hak_regions_used, memory_order_relaxed);
    for (unsigned i = 0; i < used; i++)
        if (atomic_load_explicit(&hak_regions[i].size, memory_order_relaxed) == 0)
            return &hak_regions[i];
    return used < HAK_REGIONS_MAX ? &hak_regions[used] : NULL;
}

/* Huge pages fit into a region that begins at a multiple of a superslab; a hint that is none is for the sake of chance. */
static size_t base_align(hak_region_kind kind, uintptr_t hint) {
    if (hint % HAK_SUPERSLAB == 0)
        return HAK_SUPERSLAB;
    return kind == HAK_REGION_LARGE ? hak_os_page : HAK_GRANULE;
}

/* Reserves body and meta area; false when the address space does not have them. */
static bool reserve(hak_region *region, hak_region_kind kind, size_t size) {
    size_t units = size >> kinds[kind].unit_shift;
    size_t meta_size = hak_align_up(units * kinds[kind].record_size, hak_os_page) + 2 * hak_os_page;
    uintptr_t hint = hak_policy_region_hint(kind);
    uintptr_t base = hak_os_reserve(size, base_align(kind, hint), hint);
    if (base == 0)
        return false;
    uintptr_t meta = hak_os_reserve(meta_size, hak_os_page, 0);
    if (meta == 0) {
        hak_os_unmap(base, size);
        return false;
    }
    *region = (hak_region){.records = meta + hak_os_page, /* a page without access on either side */
                           .meta_size = meta_size,
                           .unit_shift = kinds[kind].unit_shift,
                           .record_size = kinds[kind].record_size,
                           .kind = kind,
                           .limited = hak_os_address_limit() != SIZE_MAX,
                           .index = (unsigned)(region - hak_regions)};
    /* release, and that of size below: pair with the acquires in hak_region_find */
    atomic_store_explicit(&region->base, base, memory_order_release);
    if (!hak_policy_region_born(region, size)) {
        hak_os_unmap(base, size);
        hak_os_unmap(meta, meta_size);
        return false;
    }
    atomic_store_explicit(&region->size, size, memory_order_release);
    count(&hak_region_mapped, size + meta_size);
    return true;
}

/* A new region with room for `needed` bytes; smaller and smaller ones are tried. */
static hak_region *region_born(hak_region_kind kind, size_t needed) {
    hak_region *region = entry_take();
    if (region == NULL)
        return NULL;
    size_t size = PLENTY[kind];
    if (hak_os_address_limit() != SIZE_MAX)
        size = hak_align_up(hak_os_address_limit() / LIMITED_PART, HAK_SUPERSLAB);
    needed = hak_align_up(needed, HAK_SUPERSLAB);
    size = hak_max(size, needed);
    while (!reserve(region, kind, size)) {
        if (size == needed)
            return NULL;
        size = hak_max(needed, hak_align_up(size / 2, HAK_SUPERSLAB));
    }
    unsigned used = atomic_load_explicit(&hak_regions_used, memory_order_relaxed);
    if (region->index == used) /* publish; pairs with the acquire in hak_region_find */
        atomic_store_explicit(&hak_regions_used, used + 1, memory_order_release);
    return region;
}

/* Asks for huge pages in [from, end) of the body, as far as they are wanted. */
static void ask_huge(const hak_region *region, size_t from, size_t end) {
    from = hak_align_up(hak_max(from, hak_min(hak_region_huge_from, end)), HAK_SUPERSLAB);
    end = hak_align_down(end, HAK_SUPERSLAB);
    if (from < end)
        hak_os_huge(region->base + from, end - from);
}

/* Commits the body up to byte `end`, and what the meta area needs for that. */
static bool commit_to(hak_region *region, size_t end) {
    uintptr_t from = region->base + region->committed;
    size_t meta_end = hak_align_up((end >> region->unit_shift) * region->record_size, hak_os_page);
    if (meta_end > region->meta_committed) {
        size_t more = meta_end - region->meta_committed;
        if (!hak_os_commit(region->records + region->meta_committed, more))
            return false;
        region->meta_committed = meta_end;
        count(&hak_region_committed, more);
        count(&hak_region_metadata, more);
    }
    if (!hak_tag_cover(from, end - region->committed) || !hak_policy_region_commit(region, end) ||
        !hak_os_commit(from, end - region->committed))
        return false;
    count(&hak_region_committed, end - region->committed);
    ask_huge(region, region->committed, end);
    region->committed = end;
    return true;
}

/* Makes [0, used + size) of the body usable: a generous step if the OS lets us, else just what is needed. */
static bool commit(hak_region *region, size_t size) {
    size_t end = region->used + size;
    if (end <= region->committed)
        return true;
    size_t step = hak_max(COMMIT_STEP_MIN, hak_min(region->committed, COMMIT_STEP_MAX));
    size_t generous = hak_min(region->size, hak_max(end, region->committed + step));
    return commit_to(region, generous) || commit_to(region, end);
}

static bool has_room(const hak_region *region, hak_region_kind kind, size_t size) {
    return region->size != 0 && region->kind == kind && region->size - region->used >= size;
}

/* 0 when the OS refuses. */
static uintptr_t take_from(hak_region *region, size_t size) {
    if (!commit(region, size))
        return 0;
    uintptr_t taken = region->base + region->used;
    region->used += size;
    return taken;
}

uintptr_t hak_region_take(hak_region_kind kind, size_t size, hak_region **out) {
    hak_region *region = NULL;
    hak_lock_take(&hak_region_lock);
    unsigned used = atomic_load_explicit(&hak_regions_used, memory_order_relaxed);
    for (unsigned i = 0; i < used && region == NULL; i++)
        if (has_room(&hak_regions[i], kind, size))
            region = &hak_regions[i];
    if (region == NULL)
        region = region_born(kind, size);
    uintptr_t taken = region != NULL ? take_from(region, size) : 0;
    if (taken != 0)
        *out = region;
    hak_lock_give(&hak_region_lock);
    return taken;
}

bool hak_region_take_more(hak_region *region, size_t size) {
    hak_lock_take(&hak_region_lock);
    bool taken = has_room(region, region->kind, size) && take_from(region, size) != 0;
    hak_lock_give(&hak_region_lock);
    return taken;
}

void hak_region_dies(hak_region *region) {
    hak_lock_take(&hak_region_lock);
    uintptr_t base = region->base;
    size_t size = region->size;
    hak_policy_region_dies(region);
    atomic_store_explicit(&region->size, 0, memory_order_relaxed);
    hak_tag_set(base, region->used, HAK_TAG_NONE);
    hak_os_unmap(base, size);
    hak_os_unmap(region->records - hak_os_page, region->meta_size);
    count(&hak_region_mapped, -(size + region->meta_size));
    count(&hak_region_committed, -(region->committed + region->meta_committed));
    count(&hak_region_metadata, -region->meta_committed);
    hak_lock_give(&hak_region_lock);
}
