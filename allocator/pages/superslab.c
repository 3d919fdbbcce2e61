/* superslab.c: see superslab.h. */
#include "allocator/pages/superslab_own.h"

#include "allocator/os/os.h"
#include "allocator/pages/bound.h"
#include "allocator/pages/release.h"
#include "allocator/pages/tag.h"
#include "allocator/policy.h"

#include <string.h>

hak_lock hak_superslab_lock = HAK_LOCK_INIT(HAK_RANK_SUPERSLAB);
unsigned hak_shards = 1;
_Atomic size_t hak_slabs_fresh;
_Atomic size_t hak_superslabs_live, hak_superslab_free_dirty, hak_superslab_live_bytes;

hak_link hak_superslab_with_run[HAK_SUPERSLAB_ORDERS];

static const uint32_t ALL_FREE = 0xffffffffu;

enum {
    /* PIECES granules are mapped slab by slab, in superslabs that are born hollow, so a small program is small
     * also by the kernel's count (mlockall under the usual 8 MiB). Later superslabs are mapped whole, with one
     * call. At most BIRTHS superslabs are born hollow, because slabs in part leave most of a superslab empty. */
    PIECES = 4 * HAK_SUPERSLAB_GRANULES,
    BIRTHS = 16,
    /* A fresh slab counts once for each so many of its granules. */
    FRESH_GRANULES = 4,
    /* In these superslabs the first slab of a class of wide slots is mapped in part. A C++ program has one
     * object of 72 KiB, whose slab would have 1 MiB. Every program has a stream's buffer of 4 KiB, whose slab
     * has 2 MiB where 256 slots are wanted. */
    PART_BYTES = 128 * HAK_KIB,
    PART_FROM = 2 * PART_BYTES,
    PART_SLOTS = 64,
    /* A class with this many slabs is split: the slabs, caches and quarantines of one more class then cost less
     * than they save. With four, 200 idle threads kept a third more (hardened). */
    SPLIT_FROM = 16,
    /* The first slab of a class in a shard gets no huge page if it has at least this many bytes, because it may
     * have one object for long. Once it is full, the next slabs are dense. Measure again with peak RSS of
     * python3 and workload c. */
    SPARSE_FROM = 512 * HAK_KIB,
};
static unsigned births, pieces;     /* superslabs born hollow, granules mapped slab by slab */
static bool had_slab[HAK_TAGS];     /* the class had a slab */
static uint32_t slabs_of[HAK_TAGS]; /* slabs in use, per class */
static uint32_t shard_slabs[HAK_SHARDS_MAX + HAK_POLICY_PARTITIONS][HAK_TAGS]; /* the same, per shard */

void hak_superslab_init(void) {
    hak_region_define(HAK_REGION_SLABS, HAK_SUPERSLAB_SHIFT, sizeof(hak_superslab));
    for (int i = 0; i < HAK_SUPERSLAB_ORDERS; i++)
        hak_list_init(&hak_superslab_with_run[i]);
    hak_bound_init();
    hak_superslab_lowest = hak_superslab_gaps = 0;
    births = pieces = 0;
    for (unsigned cls = 0; cls < HAK_TAGS; cls++) {
        had_slab[cls] = false;
        slabs_of[cls] = 0;
    }
    memset(shard_slabs, 0, sizeof shard_slabs);
}

unsigned hak_superslab_largest_order(uint32_t free_mask) {
    unsigned order = HAK_SUPERSLAB_ORDERS;
    while (order > 0 && hak_find_run32(free_mask, 1u << (order - 1)) < 0)
        order--;
    return order == 0 ? HAK_SUPERSLAB_ORDERS : order - 1;
}

/* Moves the superslab to the list for its free mask. */
static void relist(hak_superslab *superslab) {
    unsigned order = hak_superslab_largest_order(superslab->free_mask);
    if (order == superslab->order)
        return;
    if (superslab->order != HAK_SUPERSLAB_ORDERS)
        hak_list_remove(&superslab->link);
    superslab->order = (uint8_t)order;
    if (order != HAK_SUPERSLAB_ORDERS)
        hak_list_push(&hak_superslab_with_run[order], &superslab->link);
}

/* True when the next superslab is born hollow. Where every superslab is to be a huge page, all are mapped
 * whole. */
static bool wants_pieces(void) {
    if (births == BIRTHS || pieces >= PIECES || hak_region_huge_from == 0)
        return false;
    births++;
    return true;
}

static hak_superslab *superslab_born(bool pieces) {
    hak_region *region;
    uintptr_t start = pieces ? 0 : hak_region_take(HAK_REGION_SLABS, HAK_SUPERSLAB, &region);
    bool hollow = start == 0; /* no memory for all of it: slabs map their granules */
    if (hollow)
        start = hak_region_take_hollow(HAK_REGION_SLABS, HAK_SUPERSLAB, &region);
    if (start == 0)
        return NULL;
    hak_superslab *superslab = hak_region_record(region, start);
    superslab->start = start;
    hak_superslab_set_hollow(superslab, hollow ? ALL_FREE : 0);
    superslab->free_mask = ALL_FREE;
    superslab->order = HAK_SUPERSLAB_ORDERS;
    relist(superslab);
    return superslab;
}

/* Finds a superslab with a free run of `granules`, from the list of the smallest such runs, or maps a new one. */
static hak_superslab *find_with_run(unsigned granules) {
    for (unsigned order = hak_log2(granules); order < HAK_SUPERSLAB_ORDERS; order++)
        if (!hak_list_empty(&hak_superslab_with_run[order]))
            return HAK_OWNER_OF(hak_superslab_with_run[order].next, hak_superslab, link);
    return superslab_born(wants_pieces());
}

/* Returns one of the free runs in `mask`; -1: none. With a random `choice` from 0 to 31 all runs are equally
 * likely; 0 gives the first one. A search from granule `choice` on would prefer the run behind a slab: half of
 * the small slabs would lie next to a wide one. */
static int find_chosen(uint32_t mask, unsigned granules, unsigned choice) {
    uint32_t runs = hak_runs32(mask, granules);
    for (unsigned before = (unsigned)__builtin_popcount(runs) * choice / HAK_SUPERSLAB_GRANULES; before != 0;
         before--)
        runs &= runs - 1;
    return runs != 0 ? (int)hak_lowest_bit(runs) : -1;
}

/* Maps the hollow granules in `mask`. A run that other code has taken stays hollow and is not free any more. */
static hak_map_result fill(hak_superslab *superslab, uint32_t mask) {
    hak_map_result all = HAK_MAP_DONE;
    for (uint32_t left = superslab->hollow_mask & mask; left != 0;) {
        uint32_t run = hak_run_next(&left);
        hak_map_result result = hak_region_fill(hak_region_find(superslab->start),
                                                hak_run_start(superslab, run), hak_run_bytes(run));
        if (result == HAK_MAP_DONE) {
            hak_superslab_set_hollow(superslab, superslab->hollow_mask & ~run);
            pieces = (unsigned)hak_min(PIECES, pieces + (unsigned)__builtin_popcount(run));
        }
        if (result == HAK_MAP_TAKEN)
            superslab->free_mask &= ~run;
        if (result == HAK_MAP_TAKEN || all == HAK_MAP_DONE)
            all = result;
    }
    relist(superslab);
    return all;
}

/* Chooses the first granule of a slab. */
static unsigned place_for(const hak_superslab *superslab, unsigned granules) {
    /* A dirty run costs no page fault, and a mapped run costs no system call. */
    const uint32_t wanted[] = {superslab->dirty_mask, ~superslab->hollow_mask, ALL_FREE};
    unsigned choice = hak_policy_granule_choice();
    int first = -1;
    for (unsigned i = 0; i < sizeof wanted / sizeof wanted[0] && first < 0; i++)
        first = find_chosen(superslab->free_mask & wanted[i], granules, choice);
    HAK_CHECK(first >= 0, "superslab in a list of free runs has none");
    return (unsigned)first;
}

/* The least slots of a part. Where slots are chosen at random, a part has as many as a batch is chosen from. */
static uint32_t part_slots(const hak_class_info *info) {
    size_t least = info->size <= HAK_POLICY_SLAB_SLOTS_SIZE ? PART_SLOTS : 1;
    return (uint32_t)hak_max(least, PART_BYTES / info->size);
}

/* Gives memory only to some slots of a new slab of a class of wide slots, at a random place. False: all slots
 * must have memory. */
static bool choose_part(hak_slab *slab) {
    const hak_class_info *info = &hak_classes[slab->cls];
    uint32_t step = hak_part_step(info), all = info->slots / step,
             count = (part_slots(info) + step - 1) / step;
    if (info->slab_bytes < PART_FROM || count >= all ||
        (hak_slab_mask(slab) & ~hak_superslab_of(slab)->hollow_mask) != 0)
        return false;
    slab->part_count = (uint8_t)count;
    slab->part_from = (uint8_t)hak_policy_slot_choice(all - count + 1);
    return true;
}

/* Maps the memory of a slab. When the OS refuses a whole slab, tries a part. */
static hak_map_result fill_slab(hak_slab *slab) {
    hak_superslab *superslab = hak_superslab_of(slab);
    slab->part_from = slab->part_count = 0;
    if (!had_slab[slab->cls])
        (void)choose_part(slab);
    hak_map_result result = fill(superslab, hak_slab_memory(slab));
    if (result == HAK_MAP_REFUSED && slab->part_count == 0 && choose_part(slab))
        result = fill(superslab, hak_slab_memory(slab));
    return result;
}

/* True when the superslab has the bitmap that a slab of few or many slots needs. Takes memory for those of many
 * slots. */
static bool has_bits(hak_superslab *superslab, bool few) {
    if (!few && superslab->many_bits == NULL)
        superslab->many_bits = hak_region_extra(hak_region_find(superslab->start),
                                                HAK_SUPERSLAB_GRANULES * sizeof superslab->many_bits[0]);
    return few || superslab->many_bits != NULL;
}

static hak_slab *cut(hak_superslab *superslab, unsigned cls, hak_map_result *result) {
    const hak_class_info *info = &hak_classes[cls];
    unsigned granules = info->slab_bytes / HAK_GRANULE;
    bool few = info->slots <= HAK_FEW_WORDS * 64;
    if (!has_bits(superslab, few))
        return NULL;
    unsigned first = place_for(superslab, granules);
    hak_slab *slab = &superslab->slabs[first];
    slab->start = superslab->start + (size_t)first * HAK_GRANULE;
    slab->free_bits = few ? superslab->few_bits[first] : superslab->many_bits[first];
    slab->granules = (uint8_t)granules;
    HAK_SHOW(slab->cls, (uint8_t)cls);
    *result = fill_slab(slab);
    if (*result == HAK_MAP_DONE)
        return slab;
    slab->granules = 0; /* there is no slab */
    return NULL;
}

/* Where huge pages were requested (region.c), a superslab gets small pages while its slab may stay mostly
 * empty. Decides it when the superslab has no resident pages: before the first use, or after a purge. With
 * HAKMEM_SS_HUGE=ALWAYS the superslab keeps huge pages. */
static void choose_pages(const hak_slab *slab, unsigned cls, unsigned shard) {
    hak_superslab *superslab = hak_superslab_of(slab);
    const hak_region *region = hak_region_find(superslab->start);
    bool lone = hak_classes[cls].slab_bytes >= SPARSE_FROM && shard_slabs[shard][cls] == 0;
    size_t at = superslab->start - region->base;
    if (superslab->dirty_mask != 0 || superslab->not_huge == lone || hak_region_huge_from == 0 ||
        at < hak_region_huge_from || at >= HAK_GLANCE(region->huge_asked))
        return;
    superslab->not_huge = lone;
    (lone ? hak_os_not_huge : hak_os_huge)(superslab->start, HAK_SUPERSLAB);
}

/* Moves the slab's granules from free to used. */
static void occupy(hak_slab *slab) {
    hak_superslab *superslab = hak_superslab_of(slab);
    uint32_t mask = hak_slab_mask(slab), memory = hak_slab_memory(slab);
    if (superslab->used_mask == 0)
        hak_counter_add(&hak_superslabs_live, 1);
    superslab->free_mask &= ~mask;
    superslab->used_mask |= mask;
    hak_counter_sub(&hak_superslab_free_dirty, hak_run_bytes(superslab->dirty_mask & mask));
    superslab->dirty_mask |= memory;
    hak_superslab_lowest = hak_min(hak_superslab_lowest, hak_superslab_free_dirty);
    hak_counter_add(&hak_superslab_live_bytes, hak_run_bytes(superslab->dirty_mask & mask));
    relist(superslab);
}

static void vacate(hak_slab *slab) {
    hak_superslab *superslab = hak_superslab_of(slab);
    size_t bytes = hak_run_bytes(superslab->dirty_mask & hak_slab_mask(slab));
    superslab->used_mask &= ~hak_slab_mask(slab);
    hak_counter_add(&hak_superslab_free_dirty, bytes);
    hak_counter_sub(&hak_superslab_live_bytes, bytes);
    if (superslab->used_mask == 0)
        hak_counter_sub(&hak_superslabs_live, 1);
    if (HAK_POLICY_CLASS_BOUND) /* the run stays with its class, in no list of free runs */
        hak_bound_add(slab);
    else {
        superslab->free_mask |= hak_slab_mask(slab);
        relist(superslab);
    }
}

static void fill_bits(hak_slab *slab) {
    uint32_t words = (slab->slots + 63) / 64;
    hak_slab_slots part = hak_slab_part_slots(slab);
    for (uint32_t i = 0; i < words; i++)
        slab->free_bits[i] = part.count != 0 ? 0 : UINT64_MAX;
    for (uint32_t slot = part.from; slot < part.from + part.count; slot++)
        slab->free_bits[slot / 64] |= (uint64_t)1 << slot % 64;
    if (part.count == 0 && slab->slots % 64 != 0)
        slab->free_bits[words - 1] = ((uint64_t)1 << (slab->slots % 64)) - 1;
}

/* Takes a free slab that stays with its class. NULL: none, or the OS refused its memory. A slab whose addresses
 * other code has taken is in no list any more. */
static hak_slab *take_bound(unsigned cls, unsigned shard, hak_map_result *result) {
    hak_slab *slab;
    while ((slab = hak_bound_find(cls, hak_shard_partition(shard))) != NULL) {
        *result = fill(hak_superslab_of(slab), hak_slab_memory(slab));
        if (*result != HAK_MAP_REFUSED)
            hak_bound_remove(slab);
        if (*result != HAK_MAP_TAKEN)
            return *result == HAK_MAP_DONE ? slab : NULL;
    }
    return NULL;
}

/* NULL when the OS refuses. */
static hak_slab *take_any(unsigned cls) {
    hak_map_result result = HAK_MAP_DONE;
    hak_slab *slab;
    do {
        hak_superslab *superslab = find_with_run(hak_classes[cls].slab_bytes / HAK_GRANULE);
        slab = superslab != NULL ? cut(superslab, cls, &result) : NULL;
    } while (slab == NULL && result == HAK_MAP_TAKEN);
    return slab;
}

/* Begins a slab of `cls` with all its slots free. */
static void slab_begin(hak_slab *slab, unsigned cls, unsigned shard) {
    const hak_class_info *info = &hak_classes[cls];
    uint32_t mask = hak_slab_memory(slab), fresh = mask & ~hak_superslab_of(slab)->dirty_mask;
    bool clean = fresh == mask;
    if (clean)
        hak_counter_add(&hak_slabs_fresh, hak_max(1, (size_t)__builtin_popcount(mask) / FRESH_GRANULES));
    choose_pages(slab, cls, shard);
    occupy(slab);
    had_slab[cls] = true;
    shard_slabs[shard][cls]++;
    if (++slabs_of[cls] == SPLIT_FROM)
        hak_size_class_split(cls);
    HAK_SHOW(slab->shard, (uint8_t)shard);
    HAK_SHOW(slab->slots, info->slots);
    slab->free = hak_slab_all(slab);
    slab->first = 0;
    slab->fresh = clean && hak_release_zeroes() ? 0 : (uint16_t)info->slots;
    HAK_SHOW(slab->state, HAK_SLAB_PARTIAL);
    fill_bits(slab);
    hak_tag_set(slab->start, info->slab_bytes, cls);
    /* Last, because it may unmap all that is free. */
    if (fresh != 0)
        hak_superslab_exchange_locked(hak_run_bytes(fresh));
}

/* NULL when the OS refuses. */
static hak_slab *take_locked(unsigned cls, unsigned shard) {
    hak_lock_check_held(&hak_superslab_lock);
    if (!HAK_POLICY_CLASS_BOUND)
        return take_any(cls);
    if (!hak_bound_open(hak_shard_partition(shard)))
        return NULL;
    hak_map_result result = HAK_MAP_TAKEN;
    hak_slab *slab = take_bound(cls, shard, &result);
    return slab == NULL && result == HAK_MAP_TAKEN ? take_any(cls) : slab; /* no free slab of the class */
}

hak_slab *hak_superslab_take_slab(unsigned cls, unsigned shard) {
    hak_lock_take(&hak_superslab_lock);
    hak_slab *slab = take_locked(cls, shard);
    if (slab != NULL)
        slab_begin(slab, cls, shard);
    hak_lock_give(&hak_superslab_lock);
    if (slab != NULL && !hak_policy_slab_born(slab)) {
        hak_superslab_give_slab(slab);
        return NULL;
    }
    return slab;
}

void hak_superslab_give_slab(hak_slab *slab) {
    HAK_CHECK(hak_slab_is_empty(slab), "a slab with live objects was given back");
    hak_policy_slab_dies(slab);
    hak_lock_take(&hak_superslab_lock);
    if (!HAK_POLICY_CLASS_BOUND) /* else the slab keeps its class and its tags */
        hak_tag_set(slab->start, (size_t)slab->granules * HAK_GRANULE, HAK_TAG_NONE);
    HAK_SHOW(slab->state, HAK_SLAB_UNUSED);
    slabs_of[slab->cls]--;
    shard_slabs[slab->shard][slab->cls]--;
    vacate(slab);
    hak_lock_give(&hak_superslab_lock);
    if (hak_release_excess() != 0)
        hak_superslab_purge(0);
    else
        hak_superslab_release_most();
}

/* Superslabs that are born one after another are neighbours in one region, so one call touches a run of them. */
bool hak_superslab_prewarm(unsigned count) {
    uintptr_t start = 0, end = 0;
    unsigned born = 0;
    hak_lock_take(&hak_superslab_lock);
    for (; born < count; born++) {
        hak_superslab *superslab = superslab_born(false);
        if (superslab == NULL || superslab->hollow_mask != 0 || !has_bits(superslab, false))
            break;
        superslab->dirty_mask = ALL_FREE;
        hak_counter_add(&hak_superslab_free_dirty, HAK_SUPERSLAB);
        if (superslab->start != end) {
            if (start != end)
                hak_os_populate(start, end - start);
            start = superslab->start;
        }
        end = superslab->start + HAK_SUPERSLAB;
    }
    if (start != end)
        hak_os_populate(start, end - start);
    hak_lock_give(&hak_superslab_lock);
    return born == count;
}

void hak_superslab_split_all(void) {
    hak_lock_take(&hak_superslab_lock);
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
        hak_size_class_split(cls);
    hak_lock_give(&hak_superslab_lock);
}
