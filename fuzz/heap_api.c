/* heap_api.c: fills the table of heap_api.h; compiled once per variant. */
#include "fuzz/heap_api.h"

#include "allocator/alloc.h"
#include "allocator/heap/large.h"
#include "allocator/life/reset.h"
#include "allocator/os/os.h"
#include "allocator/os/os_keep.h"
#include "allocator/pages/release.h"
#include "allocator/policy.h"
#include "include/hakmem.h"

void hak_sweep_all(void); /* of the hardened core */

static void check(void) {
    hak_cache_check();
    hak_depot_check();
    hak_superslab_check();
    hak_large_check();
}

/* Any change of a bin moves its top or its end; the entries below were there before. */
static HAK_WALKER void check_mine(void) {
    static void **top[HAK_TAGS], **end[HAK_TAGS];
    const hak_cache *cache = hak_cache_mine;
    for (unsigned tag = 0; tag < HAK_TAGS; tag++)
        if (cache->top[tag] != top[tag] || cache->end[tag] != end[tag]) {
            void **lower = cache->top[tag] < top[tag] ? cache->top[tag] : top[tag];
            hak_cache_check_bin(tag, lower != NULL ? lower - 1 : NULL);
            top[tag] = cache->top[tag];
            end[tag] = cache->end[tag];
        }
}

_Static_assert((int)FUZZ_RESET_FRESH == HAK_RESET_FRESH && (int)FUZZ_RESET_KEPT == HAK_RESET_KEPT &&
                   (int)FUZZ_RESET_GUARDED == HAK_RESET_GUARDED,
               "heap_api.h has the values of reset.h");
_Static_assert(FUZZ_OS_FAIL_ON == HAK_OS_FAIL_ON, "heap_api.h has the value of os.h");
static void reset(unsigned how) {
    hak_os_keep_own_clock();
    hak_test_reset((hak_reset)how);
}

/* What happens once in a process happens before the first input, which then takes the same paths as any other. */
__attribute__((constructor)) static void once(void) {
    hak_test_reset(HAK_RESET_KEPT);
}

static void exit_sweep(void) {
    if (FUZZ_HARDENED)
        hak_sweep_all();
}

static uint64_t changes(void) {
    return atomic_load(&hak_cache_operations) + atomic_load(&hak_large_operations) +
           atomic_load(&hak_os_counts.madvise) + atomic_load(&hak_os_counts.mprotect);
}

static void set_policy(bool lean, unsigned decommit, size_t target) {
    hak_release_init(lean, (hak_decommit)decommit, target);
}

static size_t capacity(const void *obj) {
    return hak_object_capacity(obj, hak_policy_tag(obj));
}

static bool is_large(const void *obj) {
    return hak_policy_tag(obj) == HAK_TAG_LARGE;
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
    .check_mine = check_mine,
    .changes = changes,
    .thread_end = hak_cache_end,
    .reset = reset,
    .fail_os_at = hak_os_fail_at,
    .pass_time = hak_os_keep_pass,
    .exit_sweep = exit_sweep,
    .set_policy = set_policy,
    .capacity = capacity,
    .is_large = is_large,
};
