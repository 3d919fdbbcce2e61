/* bins.h: objects straight from and to the bins of the calling thread's cache, below the policy. */
#ifndef HAK_TESTS_BINS_H
#define HAK_TESTS_BINS_H

#include "allocator/cache/cache.h"

static inline void *bin_take(unsigned cls) {
    void *obj = hak_cache_pop(hak_cache_mine, cls);
    return obj != NULL ? obj : hak_cache_refill_slow(cls);
}
static inline void bin_give(void *obj, unsigned cls) {
    if (!hak_cache_push(hak_cache_mine, obj, cls))
        hak_cache_flush_slow(obj, cls);
}

#endif
