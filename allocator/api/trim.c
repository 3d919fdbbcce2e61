/* trim.c: gives memory back when the program asks for it; and the names of the version and the variant. */
#include "allocator/cache/cache.h"
#include "allocator/heap/large.h"
#include "allocator/life/init.h"
#include "allocator/pages/release.h"
#include "allocator/policy.h"
#include "include/hakmem.h"

int hak_trim(size_t keep) {
    if (!hak_init())
        return 0;
    hak_policy_trim();
    hak_cache_trim();
    hak_depot_trim();
    hak_depot_purge(true);
    size_t given = hak_large_purge(keep);
    size_t large = atomic_load_explicit(&hak_release_large_dirty, memory_order_relaxed);
    given += hak_superslab_purge(keep > large ? keep - large : 0);
    return given != 0;
}

const char *hak_version(void) {
    return HAK_VERSION_STRING;
}
const char *hak_variant(void) {
    return HAK_POLICY_NAME;
}
