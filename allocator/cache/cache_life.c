/* cache_life.c: see cache_own.h and cache.h. hak_cache_lock guards the list of all caches and of those that
 * wait for a thread; the contents of a cache belong to its thread. */
#include "allocator/cache/cache_own.h"

#include "allocator/os/death.h"
#include "allocator/os/os.h"
#include "allocator/policy.h"

#include <string.h>

/* Most caches for partitions. Each is a mapping of its own, of which a process may have 65,530. A thread
 * without one uses the depots directly. */
enum { TYPED_MOST = 2048 };

/* What every bin of a static cache points at: empty, because it is NULL, and full, because top == end. */
void *const hak_cache_nothing[1];
#define STATIC_CACHE                                                                                         \
    {                                                                                                        \
        .top = {[0 ... HAK_BINS - 1] = (void **)hak_cache_nothing}, .end = {                                 \
            [0 ... HAK_TAGS - 1] = (void **)hak_cache_nothing                                                \
        }                                                                                                    \
    }
hak_cache hak_cache_before_first = STATIC_CACHE, hak_cache_after_last = STATIC_CACHE;

_Thread_local hak_cache *hak_cache_mine = &hak_cache_before_first;

hak_lock hak_cache_lock = HAK_LOCK_INIT(HAK_RANK_CACHES);
static hak_cache *waiting; /* caches of threads that have ended; hak_cache_lock */
static hak_cache *newest;  /* of all caches; hak_cache_lock */
/* In a forked child: from this cache on along `older`, no cache has a thread, except those of the only thread. */
static hak_cache *lost;
static unsigned forks;                      /* number of calls of hak_cache_alone */
static unsigned threads_of[HAK_SHARDS_MAX]; /* number of threads that use the shard; hak_cache_lock */

static _Atomic unsigned typed_caches;

static size_t cache_bytes(void) {
    return hak_align_up(sizeof(hak_cache) + hak_class_bin_entries * sizeof(void *), hak_os_page);
}

/* Chooses the shard that the fewest threads use, the first one among equals, as jemalloc chooses a thread's
 * arena. So threads that come and go find the slabs of earlier threads. */
static unsigned shard_join(void) {
    unsigned shard = 0;
    hak_lock_take(&hak_cache_lock);
    for (unsigned i = 1; i < hak_shards; i++)
        if (threads_of[i] < threads_of[shard])
            shard = i;
    threads_of[shard]++;
    hak_lock_give(&hak_cache_lock);
    return shard;
}

/* Does not write to the caches of other threads, which would copy their pages; a thread that takes one empties
 * it. */
void hak_cache_alone(void) {
    hak_cache_recall_alone();
    waiting = NULL;
    lost = newest;
    forks++;
    memset(threads_of, 0, sizeof threads_of);
    if (!hak_cache_is_static(hak_cache_mine))
        threads_of[hak_cache_mine->shard] = 1;
    size_t room = 0;
    unsigned caches = 0;
    for (hak_cache *cache = hak_cache_mine; cache != NULL; cache = cache->parts, caches++) {
        room += cache->room - cache->lent;
        cache->survived = forks;
    }
    atomic_store_explicit(&hak_cache_room, room, memory_order_relaxed);
    atomic_store_explicit(&typed_caches, caches - 1, memory_order_relaxed);
    atomic_store_explicit(&hak_caches_live, !hak_cache_is_static(hak_cache_mine), memory_order_relaxed);
}

bool hak_cache_begun(void) {
    return !hak_cache_is_static(hak_cache_mine);
}

static bool profiled;

void hak_cache_profile(void) {
    profiled = true;
}

/* Nothing is recalled from the cache until its first owner, or the next one, is done with it. */
static void own(hak_cache *cache) {
    atomic_store_explicit(&cache->busy, 1, memory_order_relaxed);
    atomic_store_explicit(&cache->recall, HAK_RECALL_NONE, memory_order_relaxed);
}

/* Maps a new, empty cache; NULL: no memory. Without memory for rations its thread is not in the heap profile,
 * and uses bins. */
static hak_cache *cache_map(void) {
    hak_cache *cache = (hak_cache *)hak_os_map_between(cache_bytes());
    if (cache == NULL)
        return NULL;
    own(cache);
    if (profiled)
        cache->rations = (hak_rations *)hak_os_map_between(hak_align_up(sizeof *cache->rations, hak_os_page));
    hak_cache_bins_init(cache);
    hak_lock_take(&hak_cache_lock);
    cache->older = newest;
    newest = cache;
    hak_lock_give(&hak_cache_lock);
    return cache;
}

/* Objects in the bin. Its owner may be at work. */
static size_t bin_count(hak_cache *cache, unsigned cls) {
    size_t entries = (size_t)(HAK_GLANCE(cache->top[cls]) - hak_cache_base(cache, cls));
    return entries - hak_min(entries, HAK_GLANCE(cache->gone[cls]));
}

void hak_cache_count(size_t objects[HAK_TAGS]) {
    hak_lock_take(&hak_cache_lock);
    for (hak_cache *cache = newest; cache != NULL; cache = cache->older)
        for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
            objects[cls] += bin_count(cache, cls) + hak_cache_ration_count(cache, cls);
    hak_lock_give(&hak_cache_lock);
}

hak_cache *hak_cache_next(hak_cache *cache, bool *past) {
    hak_lock_check_held(&hak_cache_lock);
    for (cache = cache == NULL ? newest : cache->older; cache != NULL; cache = cache->older) {
        *past = *past || cache == lost;
        if (!*past || cache->survived == forks)
            return cache;
    }
    return NULL;
}

/* Takes a cache that has no thread, which is busy then; NULL: none. */
static hak_cache *cache_again(void) {
    hak_lock_check_held(&hak_cache_lock);
    hak_cache *cache = waiting;
    if (cache != NULL)
        waiting = cache->next;
    else {
        while (lost != NULL && lost->survived == forks)
            lost = lost->older;
        cache = lost;
        lost = cache != NULL ? cache->older : NULL;
    }
    if (cache != NULL)
        own(cache);
    return cache;
}

/* Takes a cache that a thread has left, or a new one, with empty bins. NULL: no memory. */
static hak_cache *cache_take(unsigned partition) {
    hak_lock_take(&hak_cache_lock);
    hak_cache *cache = cache_again();
    hak_lock_give(&hak_cache_lock);
    if (cache == NULL)
        cache = cache_map();
    if (cache == NULL)
        return NULL;
    cache->partition = partition;
    cache->parts = NULL;
    hak_cache_bins_init(cache);
    hak_cache_work_end(cache, 0);
    return cache;
}

bool hak_cache_begin(void) {
    if (hak_cache_begun())
        return true;
    if (hak_cache_mine == &hak_cache_after_last)
        return false;
    hak_cache *cache = cache_take(0);
    if (cache == NULL)
        return false;
    cache->shard = shard_join();
    memset(cache->part, 0, sizeof cache->part);
    cache->trim = atomic_load_explicit(&hak_cache_trims, memory_order_relaxed);
    atomic_fetch_add_explicit(&hak_caches_live, 1, memory_order_relaxed);
    hak_cache_mine = cache;
    hak_policy_cache_born();
    return true;
}

void hak_cache_forsake(void) {
    for (const hak_cache *cache = hak_cache_mine; cache != NULL;
         cache = cache->parts) /* NULL: see shim_early.c */
        atomic_fetch_sub_explicit(&hak_cache_room, cache->room - cache->lent, memory_order_relaxed);
    hak_cache_mine = &hak_cache_after_last;
    hak_policy_cache_forsaken();
}

size_t hak_cache_held(void) {
    size_t held = 0;
    for (hak_cache *cache = hak_cache_mine; cache != NULL; cache = cache->parts)
        for (unsigned cls = 1; !hak_cache_is_static(cache) && cls <= HAK_CLASSES; cls++)
            held += bin_count(cache, cls) + hak_cache_ration_count(cache, cls);
    return held;
}

void hak_cache_trim(void) {
    hak_cache_flush_all();
    atomic_fetch_add_explicit(&hak_cache_trims, 1, memory_order_relaxed);
    hak_cache_age();
    (void)hak_cache_recall(true);
    hak_lock_take(&hak_cache_lock);
    for (hak_cache *cache = waiting; cache != NULL; cache = cache->next) {
        uintptr_t entries =
            hak_align_up((uintptr_t)cache->entries, hak_os_page); /* a NULL below each bin, or nothing */
        (void)hak_os_purge(entries, (uintptr_t)cache + cache_bytes() - entries, HAK_PURGE_NOW);
    }
    hak_lock_give(&hak_cache_lock);
}

void hak_cache_end(void) {
    hak_cache *cache = hak_cache_mine;
    if (hak_death_near())
        hak_death_look(); /* the thread ends instead of the process */
    if (hak_cache_is_static(cache))
        return;
    hak_policy_cache_dies();
    hak_cache_flush_all();
    hak_cache_mine = &hak_cache_after_last;
    atomic_fetch_sub_explicit(&hak_caches_live, 1, memory_order_relaxed);
    hak_lock_take(&hak_cache_lock);
    threads_of[cache->shard]--;
    for (hak_cache *next; cache != NULL; cache = next) {
        next = cache->parts;
        if (cache->partition != 0)
            atomic_fetch_sub_explicit(&typed_caches, 1, memory_order_relaxed);
        cache->next = waiting;
        waiting = cache;
    }
    hak_lock_give(&hak_cache_lock);
}

/* A fork has taken the lock before it takes those of the depots, so they do not become more meanwhile. */
bool hak_cache_open(unsigned partition) {
    if (HAK_LIKELY(partition <= atomic_load_explicit(&hak_depot_partitions, memory_order_acquire)))
        return true;
    hak_lock_take(&hak_cache_lock);
    bool done = hak_depot_open(partition);
    hak_lock_give(&hak_cache_lock);
    return done;
}

/* The calling thread's cache for the partition; NULL: it has none, and gets none. */
hak_cache *hak_cache_typed(unsigned partition) {
    hak_cache *mine = hak_cache_mine, *cache = mine->part[partition];
    if (HAK_LIKELY(cache != NULL) || hak_cache_is_static(mine) ||
        atomic_load_explicit(&typed_caches, memory_order_relaxed) >= TYPED_MOST || !hak_cache_open(partition))
        return cache;
    cache = cache_take(partition);
    if (cache == NULL)
        return NULL;
    atomic_fetch_add_explicit(&typed_caches, 1, memory_order_relaxed);
    cache->shard = hak_cache_shard_of(partition);
    cache->parts = mine->parts;
    mine->parts = mine->part[partition] = cache;
    return cache;
}

HAK_UNSEEN void hak_cache_reset(void) {
    if (hak_cache_is_static(hak_cache_mine)) { /* the thread has ended its own: it waits with the others */
        HAK_ASSERT(waiting != NULL);
        hak_cache_mine = waiting;
        waiting = waiting->next;
    }
    for (hak_cache *cache = waiting, *next; cache != NULL; cache = next) {
        next = cache->next;
        hak_os_unmap_between((uintptr_t)cache, cache_bytes());
    }
    for (hak_cache *cache = hak_cache_mine->parts, *next; cache != NULL; cache = next) {
        next = cache->parts;
        hak_os_unmap_between((uintptr_t)cache, cache_bytes());
    }
    hak_cache_mine->parts = NULL;
    memset(hak_cache_mine->part, 0, sizeof hak_cache_mine->part);
    waiting = NULL;
    newest = hak_cache_mine;
    newest->older = NULL;
    hak_cache_bins_init(newest);
    atomic_store(&hak_cache_room, 0);
    atomic_store(&hak_cache_ages, 0);
    atomic_store(&hak_cache_trims, 0);
    newest->age = newest->age_seen = newest->trim = 0;
    atomic_store(&newest->recall, HAK_RECALL_NONE);
    hak_cache_mine->shard = 0;
    hak_cache_alone();
}
