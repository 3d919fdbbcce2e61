/* superslab_check.c: the walker of superslabs, for tests. */
#include "allocator/pages/superslab_own.h"

#include "allocator/pages/bound.h"
#include "allocator/pages/tag.h"
#include "allocator/policy.h"

static HAK_WALKER void check_slab(const hak_superslab *superslab, const hak_slab *slab) {
    HAK_CHECK(slab->start == superslab->start + (size_t)(slab - superslab->slabs) * HAK_GRANULE,
              "slab start");
    HAK_CHECK(slab->cls >= 1 && slab->cls <= HAK_CLASSES, "slab class");
    HAK_CHECK((size_t)slab->granules * HAK_GRANULE == hak_classes[slab->cls].slab_bytes, "slab granules");
    bool hollow = (superslab->hollow_mask & hak_slab_memory(slab)) != 0;
    for (unsigned i = 0; i < slab->granules; i++)
        HAK_CHECK(hak_tag_of((void *)(slab->start + i * HAK_GRANULE)) == (hollow ? HAK_TAG_NONE : slab->cls),
                  "slab tag");
}

/* Totals of all superslabs, to compare with the counters. */
typedef struct totals {
    size_t live, live_bytes, free_dirty, gaps;
} totals;

static HAK_WALKER void check_one(const hak_superslab *superslab, totals *sum) {
    uint32_t used = 0;
    for (unsigned i = 0; i < HAK_SUPERSLAB_GRANULES; i++) {
        const hak_slab *slab = &superslab->slabs[i];
        if (slab->state == HAK_SLAB_UNUSED)
            continue;
        check_slab(superslab, slab);
        HAK_CHECK((used & hak_slab_mask(slab)) == 0, "slabs overlap");
        used |= hak_slab_mask(slab);
    }
    HAK_CHECK(used == superslab->used_mask, "granules of slabs in use");
    HAK_CHECK((used & superslab->free_mask) == 0, "slab in use has free granules");
    HAK_CHECK((hak_superslab_memory_in_use(superslab) & ~superslab->dirty_mask) == 0,
              "slab in use is not dirty");
    HAK_CHECK((superslab->hollow_mask & superslab->dirty_mask) == 0, "hollow granules are dirty");
    HAK_CHECK(superslab->order == hak_superslab_largest_order(superslab->free_mask), "order of superslab");
    sum->live += used != 0;
    for (uint32_t left = superslab->hollow_mask; left != 0 && superslab->hollow_mask != UINT32_MAX;
         sum->gaps++)
        (void)hak_run_next(&left);
    sum->live_bytes += hak_run_bytes(superslab->dirty_mask & used);
    sum->free_dirty += hak_run_bytes(superslab->dirty_mask & ~used);
}

static HAK_WALKER void check_bound(const hak_slab *slab) {
    check_slab(hak_superslab_of(slab), slab);
}

static HAK_WALKER void check_lists(void) {
    for (unsigned order = 0; order < HAK_SUPERSLAB_ORDERS; order++)
        for (hak_link *link = hak_superslab_with_run[order].next; link != &hak_superslab_with_run[order];
             link = link->next)
            HAK_CHECK(HAK_OWNER_OF(link, hak_superslab, link)->order == order, "list of superslab");
}

HAK_WALKER void hak_superslab_check(void) {
    totals sum = {0, 0, 0, 0};
    hak_lock_take(&hak_superslab_lock);
    for (unsigned i = 0; i < atomic_load(&hak_regions_used); i++) {
        const hak_region *region = &hak_regions[i];
        if (region->size != 0 && region->kind == HAK_REGION_SLABS)
            for (size_t at = 0; at < region->used; at += HAK_SUPERSLAB)
                check_one(hak_region_record(region, region->base + at), &sum);
    }
    check_lists();
    hak_bound_check(check_bound);
    HAK_CHECK(sum.gaps == hak_superslab_gaps, "runs of hollow granules");
    HAK_CHECK(sum.live == hak_superslabs_live, "count of superslabs in use");
    HAK_CHECK(sum.live_bytes == hak_superslab_live_bytes, "bytes of slabs in use");
    HAK_CHECK(sum.free_dirty == hak_superslab_free_dirty, "bytes of free granules that may be resident");
    hak_lock_give(&hak_superslab_lock);
}
