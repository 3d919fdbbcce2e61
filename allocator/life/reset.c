/* reset.c: see reset.h. Not part of the products. */
#include "allocator/life/reset.h"

#include "allocator/cache/cache.h"
#include "allocator/heap/large.h"
#include "allocator/life/idle.h"
#include "allocator/life/init.h"
#include "allocator/life/thread.h"
#include "allocator/options.h"
#include "allocator/os/os_cgroup.h"
#include "allocator/os/os_keep.h"
#include "allocator/os/os_process.h"
#include "allocator/pages/release.h"
#include "allocator/pages/tag.h"
#include "allocator/policy.h"

#include <string.h>

/* What a reset does depends on earlier inputs, so a fuzzer must not count it as coverage. */
#if defined(__clang__)
#pragma clang attribute push(__attribute__((no_sanitize("coverage"))), apply_to = function)
#endif

static void forget_locks(void) {
    hak_lock *const locks[] = {&hak_cache_lock, &hak_large_lock, &hak_superslab_lock, &hak_region_lock};
    for (unsigned i = 0; i < sizeof locks / sizeof locks[0]; i++)
        atomic_store(&locks[i]->word, 0);
    hak_lock_forget_ranks();
}

static void for_regions(void (*each)(hak_region *)) {
    for (unsigned i = 0; i < atomic_load(&hak_regions_used); i++)
        if (hak_regions[i].size != 0)
            each(&hak_regions[i]);
}

/* Empties a region that stays mapped. Its memory is committed again by later calls. */
static void empty(hak_region *region) {
    size_t units = region->used >> region->unit_shift;
    memset((void *)region->records, 0, units * region->record_size);
    hak_tag_set(region->base, region->used, HAK_TAG_NONE);
    hak_os_scrub(region->base, region->used); /* what is fresh reads as zero */
    region->used = region->committed = region->meta_committed = region->tagged = region->huge_asked = 0;
    region->body.mapped = region->meta.mapped = region->extra.mapped = region->extra_used = 0;
}

/* Removes guards, and what an error may have written to free slabs. */
static void clean(hak_region *region) {
    (void)hak_os_unguard(region->base, region->used);
    if (region->kind == HAK_REGION_SLABS)
        hak_os_scrub(region->base, region->used);
}

/* Creates regions, so that the first input finds the same state as all others. */
static void make_regions(void) {
    static const size_t units[HAK_REGION_TYPED] = {HAK_SUPERSLAB, HAK_GRANULE, HAK_GRANULE};
    hak_region *region;
    for (unsigned kind = 0; kind < HAK_REGION_TYPED; kind++)
        (void)hak_region_take((hak_region_kind)kind, units[kind], &region);
}

/* Resets the counts of mapped memory of regions. */
static void forget_regions(void) {
    atomic_store(&hak_region_mapped, 0);
    atomic_store(&hak_region_committed, 0);
    atomic_store(&hak_region_metadata, 0);
}

static hak_reset before = HAK_RESET_FRESH;

static void reset_memory(hak_reset how) {
    static const hak_keep_how keep[] = {HAK_KEEP_NOTHING, HAK_KEEP_ALL, HAK_KEEP_GUARDS};
    hak_os_random_fix(1); /* for what the policy draws; again below, where nothing is drawn any more */
    if (how == HAK_RESET_FRESH || how != before) {
        hak_policy_reset(false);
        for_regions(hak_region_dies);
        forget_regions();
        hak_os_keep(HAK_KEEP_NOTHING);
        hak_os_keep(keep[how]);
        if (how != HAK_RESET_FRESH)
            make_regions();
        before = how;
    }
    hak_os_keep(keep[how]); /* for its clock */
    hak_os_random_fix(1);
    if (how == HAK_RESET_FRESH)
        return;
    if (how == HAK_RESET_GUARDED)
        for_regions(clean);
    hak_policy_reset(true);
    for_regions(empty);
    forget_regions();
}

/* A fixed number of shards, so that an input has the same meaning on every machine; few, because the walkers
 * visit all. */
static unsigned shards_for(hak_reset how) {
    enum { SHARDS = 2 };
    static unsigned usual;
    if (usual == 0)
        usual = hak_shards;
    return how == HAK_RESET_FRESH ? usual : SHARDS;
}

static void reset_counters(void) {
    _Atomic size_t *const counters[] = {
        &hak_superslabs_live,    &hak_superslab_free_dirty, &hak_superslab_live_bytes,
        &hak_release_large_live, &hak_release_large_dirty,  &hak_large_count,
        &hak_large_operations,   &hak_cache_operations,     &hak_slabs_fresh,
    };
    for (unsigned i = 0; i < sizeof counters / sizeof counters[0]; i++)
        atomic_store(counters[i], 0);
    atomic_store(&hak_slab_time, 0);
    for (unsigned cls = 0; cls < HAK_TAGS; cls++)
        atomic_store(&hak_cache_out[cls], 0);
    hak_os_counts.mmap = hak_os_counts.munmap = hak_os_counts.madvise = hak_os_counts.mprotect = 0;
}

void hak_test_reset(hak_reset how) {
    (void)hak_os_fail_at(0);
    forget_locks();
    (void)hak_os_barrier();      /* asks the OS something once per process, which is no part of an input */
    (void)hak_os_cgroup_small(); /* so does this */
    (void)hak_thread_begin();    /* the first reset may be the first call of the process */
    reset_memory(how);
    hak_superslab_init();
    hak_size_class_unsplit();
    hak_large_init();
    (void)hak_depot_init(shards_for(how)); /* of which there were as many before */
    hak_idle_init();
    hak_cache_reset();
    hak_release_init(hak_option.lean, hak_option.decommit, hak_option.target);
    reset_counters();
}

#if defined(__clang__)
#pragma clang attribute pop
#endif
