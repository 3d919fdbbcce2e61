/* cache_own.h: shared by cache.c (bins) and cache_life.c (which caches exist, and whose). Layer 4. */
#ifndef HAK_CACHE_OWN_H
#define HAK_CACHE_OWN_H

#include "allocator/cache/cache.h"

/* Every bin of a static cache points here. It is empty, because the entry is NULL, and full, because top ==
 * end. */
extern HAK_HIDDEN void *const hak_cache_nothing[1];

/* The static caches, which a thread has before its first call and after its last one. */
extern HAK_HIDDEN hak_cache hak_cache_before_first, hak_cache_after_last;

HAK_INLINE bool hak_cache_is_static(const hak_cache *cache) {
    return cache == &hak_cache_before_first || cache == &hak_cache_after_last;
}

/* Number of calls of hak_cache_age and hak_cache_trim. */
extern HAK_HIDDEN _Atomic unsigned hak_cache_ages, hak_cache_trims;

/* All bins are empty and have no room. */
void hak_cache_bins_init(hak_cache *cache);

/* Objects in the ration of the class. */
unsigned hak_cache_ration_count(const hak_cache *cache, unsigned cls);

/* From now on the partition has a shard. False: the OS has no memory for its depots. */
bool hak_cache_open(unsigned partition);

/* The shard of a partition that has one. */
HAK_INLINE unsigned hak_cache_shard_of(unsigned partition) {
    return hak_shards + partition - 1;
}

/* The calling thread's cache for the partition, which is created if needed; NULL: it cannot have one. */
hak_cache *hak_cache_typed(unsigned partition);

#endif
