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

/* The next cache that a thread of this process may have, or had; NULL at first. *past is false at first. The caller
 * holds hak_cache_lock now, but need not between the calls. */
hak_cache *hak_cache_next(hak_cache *cache, bool *past);

/* The shard whose depots refill the class. */
unsigned hak_cache_shard_for(const hak_cache *cache, unsigned cls);

/* Counts objects that went from caches to depots. */
void hak_cache_count_given(unsigned cls, size_t objects);

/* The value of `recall` of a cache. GAPS: `gone` or `lent` is not 0. */
enum { HAK_RECALL_NONE, HAK_RECALL_AT_WORK, HAK_RECALL_GAPS };

/* In the child of a fork: nobody recalls. */
void hak_cache_recall_alone(void);

/* Waits while another thread recalls objects of the cache; then closes its gaps. */
void hak_cache_settle(hak_cache *cache);

/* The owner brackets with these two what it does to its bins otherwise than by a pop or a push. No object is recalled
 * meanwhile. hak_os_barrier in the other thread stands for the barrier between the store and the load. */
HAK_INLINE unsigned char hak_cache_work_begin(hak_cache *cache) {
    unsigned char was = atomic_load_explicit(&cache->busy, memory_order_relaxed);
    atomic_store_explicit(&cache->busy, 1, HAK_TSAN ? memory_order_seq_cst : memory_order_relaxed);
    atomic_signal_fence(memory_order_seq_cst);
    if (HAK_UNLIKELY(
            atomic_load_explicit(&cache->recall, HAK_TSAN ? memory_order_seq_cst : memory_order_acquire) !=
            HAK_RECALL_NONE))
        hak_cache_settle(cache);
    return was;
}
HAK_INLINE void hak_cache_work_end(hak_cache *cache, unsigned char was) {
    atomic_store_explicit(&cache->busy, was, memory_order_release);
}

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
