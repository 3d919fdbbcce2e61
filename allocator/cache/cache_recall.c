/* cache_recall.c: takes objects out of the bins of threads that sleep. See cache.h.
 *
 * The owner pops and pushes without a lock, and may be interrupted for any time between any two instructions. So nobody
 * else may take the object at the top: the owner may have it in hand already. But an owner that is stopped by a NULL in
 * its bin takes the slow path, and waits there. So, with a barrier in all threads (hak_os_barrier) between the steps:
 *
 *   NULL  a   b   c   d       bin of a thread that sleeps; top is at d
 *   NULL  a   b   -   d       1. the entry below the top becomes NULL; c is remembered
 *   NULL  .   .   -   d       2. the top is still above it, and it is still NULL: the owner has not passed it and
 *                                never will, so a, b and c are ours
 *
 * An owner that popped c before it saw the NULL has a top at or below that entry after the barrier; if it has pushed
 * meanwhile, then the entry is not NULL any more. In both cases c goes back into its place if that is NULL: above the
 * top it does no harm. The owner closes the gap at its next slow call. */
#include "allocator/cache/cache_own.h"

#include "allocator/os/os_process.h"

enum {
    BIN_MOST = 64, /* bin_cap of no class is more */
    /* room: of a thread with less, only malloc_trim and want of memory recall anything */
    REST_LEAST = 16 * HAK_KIB,
    /* caches a pass: each costs some 0.1 ms, and the pass is a part of one call of the program */
    PASS_MOST = 16,
};

/* Objects of one cache on their way home. They belong to the thread that has set `recalling`. */
static _Atomic bool recalling;
static struct {
    void **at[HAK_TAGS], *below[HAK_TAGS]; /* the entry that was made NULL, and what it was; NULL: none */
    bool passed[HAK_TAGS];
    unsigned count[HAK_TAGS], shard[HAK_TAGS];
    void *objs[HAK_TAGS][BIN_MOST];
} way;

void hak_cache_recall_alone(void) {
    atomic_store_explicit(&recalling, false, memory_order_relaxed);
}

static bool exchange(void **at, void *from, void *to) {
    return __atomic_compare_exchange_n(at, &from, to, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

/* The NULL below the lowest entry of the bin that was not recalled. */
static void **bottom(hak_cache *cache, unsigned cls) {
    return hak_cache_base(cache, cls) + HAK_GLANCE(cache->gone[cls]);
}

static bool has_two(hak_cache *cache, unsigned cls) {
    return HAK_GLANCE(cache->top[cls]) - bottom(cache, cls) >= 2;
}

static bool any_has_two(hak_cache *cache) {
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
        if (has_two(cache, cls))
            return true;
    return false;
}

static void stop_below_tops(hak_cache *cache) {
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++) {
        way.at[cls] = NULL;
        way.count[cls] = 0;
        void **at = HAK_GLANCE(cache->top[cls]) - 1;
        if (at <= bottom(cache, cls))
            continue;
        way.below[cls] = HAK_GLANCE(*at);
        if (way.below[cls] != NULL && exchange(at, way.below[cls], NULL))
            way.at[cls] = at;
    }
}

static void look_at_tops(hak_cache *cache) {
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
        way.passed[cls] = way.at[cls] != NULL && HAK_GLANCE(cache->top[cls]) <= way.at[cls];
}

/* Takes what lies below the entries that were made NULL. */
static size_t take(hak_cache *cache, bool seen) {
    size_t objects = 0;
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++) {
        void **at = way.at[cls];
        if (at == NULL)
            continue;
        if (!seen || way.passed[cls] || HAK_GLANCE(*at) != NULL) {
            (void)exchange(at, NULL, way.below[cls]);
            continue;
        }
        unsigned count = 0;
        for (void **from = bottom(cache, cls) + 1; from < at; from++)
            way.objs[cls][count++] = __atomic_load_n(from, __ATOMIC_ACQUIRE);
        way.objs[cls][count++] = way.below[cls];
        way.count[cls] = count;
        way.shard[cls] = hak_cache_shard_for(cache, cls);
        objects += count;
        HAK_SHOW(cache->gone[cls], (unsigned char)(at - hak_cache_base(cache, cls)));
    }
    return objects;
}

/* Its room is free for other threads until its owner makes a slow call. */
static void lend(hak_cache *cache) {
    atomic_fetch_sub_explicit(&hak_cache_room, cache->room - cache->lent, memory_order_relaxed);
    HAK_SHOW(cache->lent, cache->room);
}

/* Takes objects of the cache into `way`. */
static size_t recall_from(hak_cache *cache) {
    hak_lock_check_held(&hak_cache_lock);
    unsigned char before = atomic_load_explicit(&cache->recall, memory_order_relaxed);
    atomic_store_explicit(&cache->recall, HAK_RECALL_AT_WORK, memory_order_seq_cst);
    size_t objects = 0;
    if (hak_os_barrier() && !atomic_load_explicit(&cache->busy, memory_order_seq_cst)) {
        stop_below_tops(cache);
        bool seen = hak_os_barrier();
        look_at_tops(cache);
        seen = seen && hak_os_barrier();
        objects = take(cache, seen);
        if (objects != 0)
            lend(cache);
    }
    atomic_store_explicit(&cache->recall, objects != 0 ? HAK_RECALL_GAPS : before, memory_order_release);
    return objects;
}

static void give_home(void) {
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
        if (way.count[cls] != 0) {
            hak_depot_give_batch(way.shard[cls], cls, way.objs[cls], way.count[cls]);
            hak_cache_count_given(cls, way.count[cls]);
        }
}

/* A cache that rests has not aged since the previous look, a second ago or more. */
static bool rests(hak_cache *cache) {
    unsigned age = HAK_GLANCE(cache->age);
    bool same = age == cache->age_seen;
    cache->age_seen = age;
    return same && HAK_GLANCE(cache->lent) == 0 && HAK_GLANCE(cache->room) >= REST_LEAST;
}

static bool is_mine(const hak_cache *cache) {
    for (const hak_cache *mine = hak_cache_mine; mine != NULL; mine = mine->parts)
        if (cache == mine)
            return true;
    return false;
}

/* The lock is not held while the objects go home, because a bad pointer among them ends the process there. */
static size_t recall(bool all) {
    size_t objects = 0, caches = 0;
    bool past = false;
    hak_lock_take(&hak_cache_lock);
    for (hak_cache *cache = NULL;
         (all || caches < PASS_MOST) && (cache = hak_cache_next(cache, &past)) != NULL;) {
        if (is_mine(cache) || cache->rations != NULL || !(all || rests(cache)) || !any_has_two(cache))
            continue;
        size_t more = recall_from(cache);
        if (more == 0)
            continue;
        objects += more;
        caches++;
        hak_lock_give(&hak_cache_lock);
        give_home();
        hak_lock_take(&hak_cache_lock);
    }
    hak_lock_give(&hak_cache_lock);
    return objects;
}

size_t hak_cache_recall(bool all) {
    if (atomic_load_explicit(&hak_caches_live, memory_order_relaxed) <= (size_t)hak_cache_begun() ||
        atomic_exchange_explicit(&recalling, true, memory_order_acquire))
        return 0;
    size_t objects = recall(all);
    atomic_store_explicit(&recalling, false, memory_order_release);
    return objects;
}

static void close_gap(hak_cache *cache, unsigned cls) {
    void **base = hak_cache_base(cache, cls), **from = bottom(cache, cls);
    size_t count = (size_t)(cache->top[cls] - from);
    for (size_t i = 1; i <= count; i++)
        HAK_SHOW(base[i], from[i]);
    HAK_SHOW(cache->top[cls], base + count);
    HAK_SHOW(cache->gone[cls], 0);
    cache->seen[cls] = cache->top[cls];
}

static void close_gaps(hak_cache *cache) {
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
        if (cache->gone[cls] != 0)
            close_gap(cache, cls);
    atomic_fetch_add_explicit(&hak_cache_room, cache->lent, memory_order_relaxed);
    HAK_SHOW(cache->lent, 0);
}

/* Another thread may begin to recall at any moment, and gives up because the owner is busy. Until it has, `recall` is
 * its own: after a plain store here it would find an owner that is not busy any more, and that does not wait. */
HAK_NOINLINE void hak_cache_settle(hak_cache *cache) {
    for (;;) {
        unsigned char now = atomic_load_explicit(&cache->recall, memory_order_acquire);
        if (now == HAK_RECALL_NONE)
            return;
        if (now == HAK_RECALL_AT_WORK) {
            hak_lock_take(&hak_cache_lock); /* which the other thread holds */
            hak_lock_give(&hak_cache_lock);
            continue;
        }
        close_gaps(cache);
        (void)atomic_compare_exchange_strong(&cache->recall, &now, HAK_RECALL_NONE);
    }
}
