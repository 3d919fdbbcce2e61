/* superslab_back.c: returns memory of superslabs to the OS: pages of free granules (purge), whole free granules
 * (hollow), and the memory behind the last slot of a slab (tails). */
#include "allocator/pages/superslab_own.h"

#include "allocator/pages/bound.h"
#include "allocator/pages/mapped_limit.h"
#include "allocator/pages/release.h"
#include "allocator/pages/tag.h"
#include "allocator/policy.h"

enum {
    /* Bytes that are purged per fresh byte, so that the heap shrinks in a phase that needs less than the one
     * before. */
    EXCHANGE_TIMES = 2,
};

size_t hak_superslab_lowest, hak_superslab_gaps;

/* Purges the dirty free runs of one superslab. Returns bytes. */
static size_t purge_one(hak_superslab *superslab) {
    size_t purged = hak_superslab_unmap(superslab);
    uint32_t mask = superslab->dirty_mask & superslab->free_mask;
    while (mask != 0) {
        uint32_t run = hak_run_next(&mask);
        size_t bytes = hak_run_bytes(run);
        if (!hak_release_range(hak_run_start(superslab, run), bytes))
            continue;
        superslab->dirty_mask &= ~run;
        hak_counter_sub(&hak_superslab_free_dirty, bytes);
        purged += bytes;
    }
    return purged;
}

size_t hak_superslab_purge_locked(size_t keep) {
    hak_lock_check_held(&hak_superslab_lock);
    size_t purged = HAK_POLICY_CLASS_BOUND ? hak_bound_purge(keep) : 0;
    for (unsigned order = HAK_SUPERSLAB_ORDERS; order-- > 0;)
        for (hak_link *link = hak_superslab_with_run[order].next; link != &hak_superslab_with_run[order];
             link = link->next)
            if (atomic_load_explicit(&hak_superslab_free_dirty, memory_order_relaxed) > keep)
                purged += purge_one(HAK_OWNER_OF(link, hak_superslab, link));
    return purged;
}

void hak_superslab_exchange_locked(size_t bytes) {
    hak_lock_check_held(&hak_superslab_lock);
    size_t dirty = hak_superslab_free_dirty, keep = hak_release_slab_keep();
    if (HAK_UNLIKELY(dirty > keep))
        (void)hak_superslab_purge_locked(hak_max(keep, dirty - hak_min(dirty, EXCHANGE_TIMES * bytes)));
}

size_t hak_superslab_purge(size_t keep) {
    hak_lock_take(&hak_superslab_lock);
    size_t purged = hak_superslab_purge_locked(keep);
    hak_lock_give(&hak_superslab_lock);
    return purged;
}

void hak_superslab_exchange(size_t bytes) {
    if (atomic_load_explicit(&hak_superslab_free_dirty, memory_order_relaxed) <= hak_release_slab_keep())
        return;
    hak_lock_take(&hak_superslab_lock);
    hak_superslab_exchange_locked(bytes);
    hak_lock_give(&hak_superslab_lock);
}

void hak_superslab_release_most(void) {
    size_t most = hak_release_slab_most();
    if (atomic_load_explicit(&hak_superslab_free_dirty, memory_order_relaxed) > most)
        (void)hak_superslab_purge(most / 2);
}

void hak_superslab_release_idle(void) {
    hak_lock_take(&hak_superslab_lock);
    size_t dirty = hak_superslab_free_dirty, idle = hak_min(hak_superslab_lowest, dirty);
    size_t keep = hak_min(HAK_RELEASE_SLAB_KEEP_MIN, hak_release_slab_most());
    if (idle > keep)
        (void)hak_superslab_purge_locked(dirty - idle + keep);
    hak_superslab_lowest = hak_superslab_free_dirty;
    hak_lock_give(&hak_superslab_lock);
}

/* Free granules, including those of free slabs that stay with their class. */
static uint32_t free_granules(const hak_superslab *superslab) {
    return HAK_POLICY_CLASS_BOUND ? ~superslab->used_mask : superslab->free_mask;
}

/* Sets the tags of the free slabs in `mask` that stay with their class. No tag leads to a hollow slab. */
static void tag_bound(hak_superslab *superslab, uint32_t mask, bool hollow) {
    for (unsigned i = 0; HAK_POLICY_CLASS_BOUND && i < HAK_SUPERSLAB_GRANULES; i++) {
        hak_slab *slab = &superslab->slabs[i];
        if (slab->granules == 0 || (hak_slab_mask(slab) & mask) == 0)
            continue;
        hak_tag_set(slab->start, (size_t)slab->granules * HAK_GRANULE, hollow ? HAK_TAG_NONE : slab->cls);
        i += slab->granules - 1u;
    }
}

/* Unmaps the runs in `mask`. Returns those that the OS has unmapped. */
static uint32_t hollow_runs(const hak_superslab *superslab, uint32_t mask) {
    uint32_t done = 0;
    for (uint32_t left = mask; left != 0;) {
        uint32_t run = hak_run_next(&left);
        if (hak_region_hollow(hak_region_find(superslab->start), hak_run_start(superslab, run),
                              hak_run_bytes(run)))
            done |= run;
    }
    return done;
}

/* A slab in part that stays with its class and has lost its memory is mapped whole the next time. Returns
 * `done` and the granules of such slabs. */
static uint32_t parts_gone(hak_superslab *superslab, uint32_t done) {
    uint32_t all = done;
    for (unsigned i = 0; HAK_POLICY_CLASS_BOUND && i < HAK_SUPERSLAB_GRANULES; i++) {
        hak_slab *slab = &superslab->slabs[i];
        if (slab->granules == 0 || slab->part_count == 0 ||
            (hak_slab_memory(slab) & ~done) != 0) /* a part is unmapped whole or not at all */
            continue;
        slab->part_from = slab->part_count = 0;
        all |= hak_slab_mask(slab);
    }
    return all;
}

/* Moves free slabs that stay with their class, and whose memory is gone, behind those of which some is left. */
static void bound_hollowed(hak_superslab *superslab, uint32_t done) {
    for (unsigned i = 0; HAK_POLICY_CLASS_BOUND && i < HAK_SUPERSLAB_GRANULES; i++) {
        hak_slab *slab = &superslab->slabs[i];
        if (slab->granules == 0)
            continue;
        if ((hak_slab_mask(slab) & done) != 0 && (hak_slab_mask(slab) & superslab->used_mask) == 0)
            hak_bound_clean(slab);
        i += slab->granules - 1u;
    }
}

static size_t hollow_one(hak_superslab *superslab) {
    uint32_t mask = free_granules(superslab) & ~superslab->hollow_mask;
    tag_bound(superslab, mask, true);
    uint32_t done = hak_policy_may_hollow() ? hollow_runs(superslab, mask) : 0;
    tag_bound(superslab, mask & ~done, false);
    if (done != 0)
        hak_policy_hollowed(superslab->start, parts_gone(superslab, done));
    uint32_t was_dirty = superslab->dirty_mask & done;
    hak_superslab_set_hollow(superslab, superslab->hollow_mask | done);
    bound_hollowed(superslab, done);
    superslab->dirty_mask &= ~done;
    hak_counter_sub(&hak_superslab_free_dirty, hak_run_bytes(was_dirty));
    return hak_run_bytes(done);
}

size_t hak_superslab_unmap(hak_superslab *superslab) {
    bool whole = free_granules(superslab) == UINT32_MAX;
    return hak_limit_unmaps(whole ? 0 : hak_superslab_gaps) ? hollow_one(superslab) : 0;
}

bool hak_superslab_hollow_at(uintptr_t addr) {
    hak_superslab *superslab = hak_region_record(hak_region_find(addr), addr);
    return (superslab->hollow_mask >> ((addr - superslab->start) >> HAK_GRANULE_SHIFT) & 1) != 0;
}

uint32_t hak_superslab_memory_in_use(const hak_superslab *superslab) {
    uint32_t memory = 0;
    for (unsigned i = 0; i < HAK_SUPERSLAB_GRANULES; i++)
        /* depots change the state of a slab in use at the same time, but never to or from unused */
        if (HAK_GLANCE(superslab->slabs[i].state) != HAK_SLAB_UNUSED)
            memory |= hak_slab_memory(&superslab->slabs[i]);
    return memory;
}

static size_t cut_tails_of(hak_superslab *superslab) {
    uint32_t tails = superslab->used_mask & ~hak_superslab_memory_in_use(superslab) & ~superslab->hollow_mask;
    uint32_t done = hollow_runs(superslab, tails);
    hak_counter_sub(&hak_superslab_live_bytes, hak_run_bytes(superslab->dirty_mask & done));
    hak_superslab_set_hollow(superslab, superslab->hollow_mask | done);
    superslab->dirty_mask &= ~done;
    return hak_run_bytes(done);
}

/* Calls `each` for all superslabs. Returns the sum of its results. */
static size_t sum_of_all(size_t (*each)(hak_superslab *)) {
    size_t bytes = 0;
    hak_lock_take(&hak_superslab_lock);
    for (unsigned i = 0; i < atomic_load_explicit(&hak_regions_used, memory_order_acquire); i++) {
        hak_region *region = &hak_regions[i];
        for (size_t at = 0; region->size != 0 && region->kind == HAK_REGION_SLABS && at < region->used;
             at += HAK_SUPERSLAB)
            bytes += each(hak_region_record(region, region->base + at));
    }
    hak_lock_give(&hak_superslab_lock);
    return bytes;
}

size_t hak_superslab_hollow(void) {
    return sum_of_all(hollow_one);
}

size_t hak_superslab_cut_tails(void) {
    return sum_of_all(cut_tails_of);
}
