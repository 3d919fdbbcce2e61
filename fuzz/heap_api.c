/* heap_api.c: fills the table of heap_api.h; compiled once per variant, with the variant's prefix. */
#include "fuzz/heap_api.h"

#include "allocator/alloc.h"
#include "allocator/large.h"
#include "allocator/os.h"
#include "allocator/release.h"
#include "allocator/reset.h"
#include "include/hakmem.h"

static void check(void) {
    hak_cache_check();
    hak_depot_check();
    hak_superslab_check();
    hak_large_check();
}

static uint64_t changes(void) {
    return atomic_load(&hak_cache_operations) + atomic_load(&hak_large_operations) +
           atomic_load(&hak_os_counts.madvise) + atomic_load(&hak_os_counts.mprotect);
}

static void set_policy(bool lean, unsigned decommit, size_t target) {
    hak_release_init(lean, (hak_decommit)decommit, target);
}

static size_t capacity(const void *obj) {
    return hak_object_capacity(obj, hak_tag_of(obj));
}

static bool is_large(const void *obj) {
    return hak_tag_of(obj) == HAK_TAG_LARGE;
}

const heap_api FUZZ_HEAP = {
    .name = HAK_POLICY_NAME,
    .hardened = FUZZ_HARDENED,
    .malloc = hak_malloc,
    .calloc = hak_calloc,
    .realloc = hak_realloc,
    .reallocarray = hak_reallocarray,
    .free = hak_free,
    .free_sized = hak_free_sized,
    .free_aligned_sized = hak_free_aligned_sized,
    .aligned_alloc = hak_aligned_alloc,
    .memalign = hak_memalign,
    .posix_memalign = hak_posix_memalign,
    .usable_size = hak_usable_size,
    .trim = hak_trim,
    .stats_read = hak_stats_read,
    .check = check,
    .check_mine = hak_cache_check,
    .changes = changes,
    .thread_end = hak_cache_end,
    .reset = hak_test_reset,
    .fail_os_at = hak_os_fail_at,
    .set_policy = set_policy,
    .capacity = capacity,
    .is_large = is_large,
};
