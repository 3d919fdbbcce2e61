/* reset.c: see reset.h. Not part of the products. */
#include "allocator/reset.h"

#include "allocator/cache.h"
#include "allocator/init.h"
#include "allocator/large.h"
#include "allocator/options.h"
#include "allocator/os.h"
#include "allocator/policy.h"
#include "allocator/release.h"
#include "allocator/tag.h"
#include "allocator/thread.h"

#include <string.h>

/* What a reset does depends on the program before it, which is nothing that a fuzzer should see. */
#if defined(__clang__)
#pragma clang attribute push(__attribute__((no_sanitize("coverage"))), apply_to = function)
#endif

static void forget_locks(void) {
    hak_lock *const locks[] = {&hak_cache_lock, &hak_large_lock, &hak_superslab_lock, &hak_region_lock};
    for (unsigned i = 0; i < sizeof locks / sizeof locks[0]; i++)
        atomic_store(&locks[i]->word, 0);
    hak_lock_forget_ranks();
}

static void sub(_Atomic size_t *counter, size_t bytes) {
    atomic_fetch_sub(counter, bytes);
}

/* Empties a region that stays mapped. What it has committed is committed again by the next takers, which costs a call
 * of the OS each and changes nothing. */
static void empty_region(hak_region *region) {
    size_t units = region->used >> region->unit_shift;
    memset((void *)region->records, 0, units * region->record_size);
    hak_tag_set(region->base, region->used, HAK_TAG_NONE);
    if (region->kind == HAK_REGION_LARGE) /* slabs promise nothing of their contents */
        hak_os_scrub(region->base, region->used);
    sub(&hak_region_committed, region->committed + region->meta_committed);
    sub(&hak_region_metadata, region->meta_committed);
    region->used = region->committed = region->meta_committed = 0;
}

static void reset_regions(bool fresh) {
    unsigned used = atomic_load(&hak_regions_used);
    for (unsigned i = 0; i < used; i++) {
        if (hak_regions[i].size == 0)
            continue;
        if (fresh || !HAK_POLICY_REGIONS_REUSABLE)
            hak_region_dies(&hak_regions[i]);
        else
            empty_region(&hak_regions[i]);
    }
}

/* So that the first program after the start finds what all others find. */
static void make_regions(void) {
    static const size_t units[HAK_REGION_KINDS] = {HAK_SUPERSLAB, HAK_GRANULE};
    hak_region *region;
    for (unsigned kind = 0; kind < HAK_REGION_KINDS; kind++)
        if (hak_region_take((hak_region_kind)kind, units[kind], &region) != 0)
            empty_region(region);
}

static void reset_counters(void) {
    _Atomic size_t *const counters[] = {
        &hak_superslabs_live,    &hak_superslab_free_dirty, &hak_superslab_live_bytes,
        &hak_release_large_live, &hak_release_large_dirty,  &hak_large_count,
        &hak_large_operations,   &hak_cache_objects,        &hak_cache_operations,
    };
    for (unsigned i = 0; i < sizeof counters / sizeof counters[0]; i++)
        atomic_store(counters[i], 0);
    hak_os_counts.mmap = hak_os_counts.munmap = hak_os_counts.madvise = hak_os_counts.mprotect = 0;
}

void hak_test_reset(bool fresh) {
    (void)hak_os_fail_at(0);
    forget_locks();
    (void)hak_thread_begin(); /* the first reset may be the first call of the process */
    hak_os_random_fix(1);
    hak_policy_reset();
    reset_regions(fresh);
    if (!fresh && HAK_POLICY_REGIONS_REUSABLE)
        make_regions();
    hak_superslab_init();
    hak_large_init();
    hak_depot_init(hak_shards);
    hak_cache_reset();
    hak_release_init(hak_option.lean, hak_option.decommit, hak_option.target);
    reset_counters();
}

#if defined(__clang__)
#pragma clang attribute pop
#endif
