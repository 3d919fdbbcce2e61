/* region.c: see region.h. */
#include "allocator/pages/region.h"

#include "allocator/os/os.h"
#include "allocator/os/os_cgroup.h"
#include "allocator/os/os_process.h"
#include "allocator/pages/mapped_limit.h"
#include "allocator/pages/table.h"
#include "allocator/pages/tag.h"
#include "allocator/policy.h"

hak_lock hak_region_lock = HAK_LOCK_INIT(HAK_RANK_REGION);
hak_region *hak_regions;
_Atomic unsigned hak_regions_used;
size_t hak_region_huge_from = SIZE_MAX;
_Atomic size_t hak_region_mapped, hak_region_committed, hak_region_metadata;

/* The room of a region of each kind. Unmapped addresses cost nothing. */
static size_t room_of(hak_region_kind kind) {
    static const size_t rooms[] = {(size_t)256 << 30, (size_t)4 << 40, (size_t)1 << 40, (size_t)256 << 30};
    return rooms[hak_min(kind, HAK_REGION_TYPED)];
}

static const size_t EXTRA_ROOM = (size_t)4 << 30;

enum {
    /* Each commit takes a sixteenth of what is committed, within these bounds. Memory that is committed before
     * it is used counts against the limits of the process, so it must be little. */
    COMMIT_STEP_MIN = HAK_SUPERSLAB,
    COMMIT_STEP_PART = 16,
    COMMIT_STEP_MAX = 1024 * HAK_MIB,
    /* A small heap of large objects commits less ahead: a granule, or an eighth. */
    SMALL = 8 * HAK_MIB,
    SMALL_STEP_PART = 8,
    HUGE_BEHIND = 16 * HAK_MIB, /* memory that was committed earlier than this has its pages already */
};

static struct {
    unsigned unit_shift;
    size_t record_size;
} kinds[HAK_REGION_KINDS];

static void count(_Atomic size_t *counter, size_t bytes) {
    atomic_fetch_add_explicit(counter, bytes, memory_order_relaxed);
}
static void count_committed(size_t bytes) {
    count(&hak_region_mapped, bytes);
    count(&hak_region_committed, bytes);
}

void hak_region_define(hak_region_kind kind, unsigned unit_shift, size_t record_size) {
    kinds[kind].unit_shift = unit_shift;
    kinds[kind].record_size = record_size;
}

/* A free entry of the table; NULL: none. */
static hak_region *entry_take(void) {
    static hak_extent table;
    unsigned used = atomic_load_explicit(&hak_regions_used, memory_order_relaxed);
    for (unsigned i = 0; i < used; i++)
        if (atomic_load_explicit(&hak_regions[i].size, memory_order_relaxed) == 0)
            return &hak_regions[i];
    if (used == HAK_REGIONS_MAX || !hak_table_reach(&table, sizeof(hak_region), HAK_REGIONS_MAX, used + 1))
        return NULL;
    if (hak_regions == NULL) /* others read it */
        hak_regions = (hak_region *)table.start;
    return &hak_regions[used];
}

static size_t meta_bytes(hak_region_kind kind, size_t size) {
    return hak_align_up((size >> kinds[kind].unit_shift) * kinds[kind].record_size, hak_os_page);
}

bool hak_region_reach(hak_extent *table, size_t size, size_t most, size_t entries) {
    hak_lock_take(&hak_region_lock);
    bool done = hak_table_reach(table, size, most, entries);
    hak_lock_give(&hak_region_lock);
    return done;
}

/* Returns how many bytes of the body to commit so that it reaches at least `end`. `size` is the room,
 * `committed` what is committed now. The result is a multiple of a huge page: the rest of a huge page would be
 * touched before the region asks for it as one. Where no huge pages are used yet, a small region grows by
 * granules. */
static size_t generous(hak_region_kind kind, size_t size, size_t committed, size_t end) {
    if (hak_limit_is_there())
        return hak_min(size, hak_align_up(end, kind == HAK_REGION_SLABS ? HAK_SUPERSLAB : HAK_GRANULE));
    if (kind != HAK_REGION_SLABS && end <= SMALL && hak_region_huge_from >= SMALL) {
        size_t more = hak_align_up(committed / SMALL_STEP_PART, HAK_GRANULE);
        return hak_min(SMALL, hak_max(end, committed + more));
    }
    size_t step = hak_max(COMMIT_STEP_MIN, hak_min(committed / COMMIT_STEP_PART, COMMIT_STEP_MAX));
    return hak_min(size, hak_align_up(hak_max(end, committed + step), HAK_SUPERSLAB));
}

/* Where the kernel makes huge pages unasked, it makes them of sparse memory, too: 400 objects of 1 MiB with two pages
 * touched took 394 MiB. So all memory begins without, and gets them as anywhere else: where it is dense (ask_huge,
 * huge.c), or with HAKMEM_SS_HUGE=ALWAYS. */
static void body_mapped(hak_region_kind kind, uintptr_t addr, size_t size) {
    hak_policy_mapped(kind, addr, size);
    if (size != 0 && hak_region_huge_from != 0 && hak_os_huge_unasked())
        hak_os_not_huge(addr, size);
}

/* Begins the extents of a new region, with the body mapped up to byte `first`. */
static bool begin_extents(hak_region *region, hak_region_kind kind, size_t first) {
    size_t room = hak_max(room_of(kind), hak_align_up(first, HAK_SUPERSLAB));
    if (!hak_extent_begin(&region->body, room, first, hak_policy_region_align(kind)))
        return false;
    body_mapped(kind, region->body.start, first);
    size_t meta_first = meta_bytes(kind, hak_max(first, (size_t)1 << kinds[kind].unit_shift));
    if (hak_extent_begin(&region->meta, meta_bytes(kind, region->body.room), meta_first, hak_os_page))
        return true;
    hak_extent_end(&region->body);
    return false;
}

/* True when the last quarter of the used part is densely touched: at least half of the pages in windows all
 * over it are resident. */
static bool is_dense(const hak_region *region) {
    enum { WINDOWS = 16, PAGES = 16 };
    size_t part = hak_align_down(region->used / 4, hak_os_page), resident = 0;
    if (part < HAK_SUPERSLAB || !hak_os_resident_told())
        return false;
    for (size_t i = 0; i < WINDOWS; i++) {
        size_t at = hak_align_down(part / WINDOWS * i, hak_os_page);
        resident +=
            (size_t)__builtin_popcountll(hak_os_resident(region->base + region->used - part + at, PAGES));
    }
    return resident >= WINDOWS * PAGES / 2;
}

bool hak_region_huge_spared(void) {
    return hak_region_huge_from != 0 && hak_os_cgroup_small();
}

/* Requests huge pages for the memory that was committed since the last request, as far as wanted. Only where
 * the memory before is densely used, because all of a huge page is resident. huge.c handles memory that becomes
 * dense later. */
static void ask_huge(hak_region *region) {
    size_t asked = hak_max(region->huge_asked, region->committed - hak_min(region->committed, HUGE_BEHIND));
    size_t from =
        hak_align_up(hak_max(asked, hak_min(hak_region_huge_from, region->committed)), HAK_SUPERSLAB);
    size_t end = hak_align_down(region->committed, HAK_SUPERSLAB);
    if (from >= end || (hak_region_huge_from != 0 && !is_dense(region)) || hak_region_huge_spared())
        return;
    hak_os_huge(region->base + from, end - from);
    region->huge_asked = end;
}

static void count_meta(hak_region *region) {
    size_t more = region->meta.mapped - region->meta_committed;
    region->meta_committed = region->meta.mapped;
    count_committed(more);
    count(&hak_region_metadata, more);
}

/* Commits what the body up to byte `end` needs beside itself: records, tags, the policy's tables. */
static bool commit_tables(hak_region *region, size_t end) {
    size_t meta_end = meta_bytes(region->kind, end);
    if (meta_end > region->meta_committed) {
        if (!hak_extent_grow(&region->meta, meta_end))
            return false;
        count_meta(region);
    }
    if (end > region->tagged) {
        if (!hak_tag_cover(region->base + region->tagged, end - region->tagged))
            return false;
        region->tagged = hak_tag_covered_to(region->base + end) - region->base;
    }
    return hak_policy_region_commit(region, end);
}

/* Commits the body up to byte `end`, and its tables. */
static bool commit_to(hak_region *region, size_t end) {
    size_t before = region->body.mapped;
    if (!commit_tables(region, end) || !hak_extent_grow(&region->body, end))
        return false;
    count_committed(region->body.mapped - before);
    body_mapped(region->kind, region->base + before, region->body.mapped - before);
    /* release: publishes the tables; pairs with the acquire in hak_region_find */
    atomic_store_explicit(&region->committed, end, memory_order_release);
    ask_huge(region);
    return true;
}

/* Maps the extra area up to byte `end`, with a sixteenth more if possible. False: no room, or the OS refused. */
static bool grow_extra(hak_region *region, size_t end) {
    size_t before = region->extra.mapped;
    end = hak_align_up(end, hak_os_page);
    size_t most =
        hak_max(end, hak_min(region->extra.room, hak_align_up(end + end / COMMIT_STEP_PART, hak_os_page)));
    if (!hak_extent_grow(&region->extra, most) && !hak_extent_grow(&region->extra, end))
        return false;
    count_committed(region->extra.mapped - before);
    count(&hak_region_metadata, region->extra.mapped - before);
    return true;
}

/* Begins the first extra area, or another one where other code has mapped memory behind it; the old one stays.
 * False: not needed, or the OS refused. */
static bool begin_extra(hak_region *region) {
    if (region->extra.mapped != region->extra.room ||
        !hak_extent_begin(&region->extra, EXTRA_ROOM, 0, hak_os_page))
        return false;
    region->extra_used = 0;
    return true;
}

void *hak_region_extra(hak_region *region, size_t size) {
    void *taken = NULL;
    hak_lock_take(&hak_region_lock);
    bool done = grow_extra(region, region->extra_used + size);
    while (!done && begin_extra(region))
        done = grow_extra(region, size);
    if (done) {
        taken = (void *)(region->extra.start + region->extra_used);
        region->extra_used += size;
    }
    hak_lock_give(&hak_region_lock);
    return taken;
}

static void extents_end(hak_region *region) {
    if (region->extra.start != 0)
        hak_extent_end(&region->extra);
    hak_extent_end(&region->meta);
    hak_extent_end(&region->body);
}

static void dies_locked(hak_region *region) {
    hak_lock_check_held(&hak_region_lock);
    hak_policy_region_dies(region);
    atomic_store_explicit(&region->size, 0, memory_order_relaxed);
    hak_tag_set(region->base, region->used, HAK_TAG_NONE);
    size_t metadata = region->meta_committed + region->extra.mapped;
    count_committed(-(region->body.mapped + metadata));
    count(&hak_region_metadata, -metadata);
    extents_end(region);
}

/* Begins a region with its body mapped up to byte `first`; nothing of it is used yet. False: the OS refused. */
static bool begin(hak_region *region, hak_region_kind kind, size_t first) {
    *region = (hak_region){.unit_shift = kinds[kind].unit_shift,
                           .record_size = kinds[kind].record_size,
                           .kind = kind,
                           .index = (unsigned)(region - hak_regions)};
    if (!begin_extents(region, kind, first))
        return false;
    region->records = region->meta.start;
    /* release, and that of size below: pair with the acquires in hak_region_around */
    atomic_store_explicit(&region->base, region->body.start, memory_order_release);
    if (!hak_policy_region_born(region, region->body.room)) {
        extents_end(region);
        return false;
    }
    count_meta(region);
    count_committed(first);
    if (!commit_to(region, first)) {
        dies_locked(region);
        return false;
    }
    atomic_store_explicit(&region->size, region->body.room, memory_order_release);
    return true;
}

/* Begins a new region with room for `needed` bytes, which are mapped unless `hollow`. */
static hak_region *region_born(hak_region_kind kind, size_t needed, bool hollow) {
    hak_region *region = entry_take();
    size_t first = hollow ? 0 : generous(kind, hak_max(room_of(kind), needed), 0, needed);
    if (region == NULL || !(begin(region, kind, first) || (needed < first && begin(region, kind, needed))))
        return NULL;
    unsigned used = atomic_load_explicit(&hak_regions_used, memory_order_relaxed);
    if (region->index == used) /* publish; pairs with the acquire in hak_region_around */
        atomic_store_explicit(&hak_regions_used, used + 1, memory_order_release);
    return region;
}

/* Commits [0, used + size) of the body, and more if the OS allows. */
static bool commit(hak_region *region, size_t size) {
    size_t end = region->used + size;
    if (end <= region->committed)
        return true;
    size_t most = generous(region->kind, region->body.room, region->committed, end);
    return commit_to(region, most) || (end < most && commit_to(region, end));
}

static bool has_room(const hak_region *region, hak_region_kind kind, size_t size) {
    return region->size != 0 && region->kind == kind && region->body.room - region->used >= size;
}

/* 0 when the OS refuses. */
static uintptr_t take_from(hak_region *region, size_t size) {
    hak_lock_check_held(&hak_region_lock);
    if (!commit(region, size))
        return 0;
    uintptr_t taken = region->base + region->used;
    region->used += size;
    return taken;
}

/* Takes from the first region that can: one can not when other code has mapped memory in its room. */
uintptr_t hak_region_take(hak_region_kind kind, size_t size, hak_region **out) {
    uintptr_t taken = 0;
    hak_lock_take(&hak_region_lock);
    unsigned used = atomic_load_explicit(&hak_regions_used, memory_order_relaxed);
    for (unsigned i = 0; i < used && taken == 0; i++)
        if (has_room(&hak_regions[i], kind, size)) {
            *out = &hak_regions[i];
            taken = take_from(*out, size);
        }
    if (taken == 0) {
        hak_region *region = region_born(kind, size, false);
        taken = region != NULL ? take_from(region, size) : 0;
        if (taken != 0)
            *out = region;
    }
    hak_lock_give(&hak_region_lock);
    return taken;
}

/* Unmaps what is committed and not used, so that all memory from there on is hollow. */
static uintptr_t take_hollow_from(hak_region *region, size_t size) {
    uintptr_t from = region->base + region->used;
    size_t end = region->used + size, slack = region->body.mapped - region->used;
    if (!commit_tables(region, end) || (slack != 0 && !hak_extent_hollow(&region->body, from, slack)))
        return 0;
    count_committed(-slack);
    region->body.mapped = end;
    atomic_store_explicit(&region->committed, end, memory_order_release); /* as commit_to */
    region->used = end;
    return from;
}

uintptr_t hak_region_take_hollow(hak_region_kind kind, size_t size, hak_region **out) {
    uintptr_t taken = 0;
    bool refused = false;
    hak_lock_take(&hak_region_lock);
    unsigned used = atomic_load_explicit(&hak_regions_used, memory_order_relaxed);
    for (unsigned i = 0; i < used && taken == 0; i++)
        if (has_room(&hak_regions[i], kind, size)) {
            *out = &hak_regions[i];
            taken = take_hollow_from(*out, size);
            refused = taken == 0;
        }
    hak_region *region =
        taken == 0 && !refused && size <= room_of(kind) ? region_born(kind, size, true) : NULL;
    if (region != NULL) {
        *out = region;
        taken = take_hollow_from(region, size);
    }
    hak_lock_give(&hak_region_lock);
    return taken;
}

bool hak_region_take_more(hak_region *region, size_t size) {
    hak_lock_take(&hak_region_lock);
    bool taken = has_room(region, region->kind, size) && take_from(region, size) != 0;
    hak_lock_give(&hak_region_lock);
    return taken;
}

bool hak_region_hollow(hak_region *region, uintptr_t addr, size_t size) {
    if (!hak_extent_hollow(&region->body, addr, size))
        return false;
    count_committed(-size);
    return true;
}

hak_map_result hak_region_fill(hak_region *region, uintptr_t addr, size_t size) {
    hak_map_result result = hak_extent_fill(&region->body, addr, size);
    if (result == HAK_MAP_DONE) {
        count_committed(size);
        body_mapped(region->kind, addr, size);
    }
    return result;
}

/* Not inside a reservation: when the kernel refuses, the part at `to` would be lost. */
bool hak_region_move(hak_region *old, uintptr_t from, size_t size, hak_region *region, uintptr_t to,
                     size_t new_size) {
    if (old->body.reserved || region->body.reserved || !hak_os_move(from, size, to, new_size))
        return false;
    count_committed(new_size - size);
    return true;
}

static size_t trim_one(hak_region *region) {
    size_t slack = region->body.mapped - region->used;
    if (slack == 0 || !hak_extent_hollow(&region->body, region->base + region->used, slack))
        return 0;
    region->body.mapped = region->used;
    atomic_store_explicit(&region->committed, region->used, memory_order_release);
    count_committed(-slack);
    return slack;
}

size_t hak_region_trim(void) {
    size_t bytes = 0;
    hak_lock_take(&hak_region_lock);
    for (unsigned i = 0; i < hak_regions_used; i++)
        if (hak_regions[i].size != 0)
            bytes += trim_one(&hak_regions[i]);
    hak_lock_give(&hak_region_lock);
    return bytes;
}

void hak_region_dies(hak_region *region) {
    hak_lock_take(&hak_region_lock);
    dies_locked(region);
    hak_lock_give(&hak_region_lock);
}
