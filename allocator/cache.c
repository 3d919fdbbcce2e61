/* cache.c: refill, flush, and the life of a thread's cache. See cache.h. */
#include "allocator/cache.h"

#include "allocator/death.h"
#include "allocator/large.h"
#include "allocator/os.h"
#include "allocator/policy.h"
#include "allocator/tag.h"

#include <string.h>

enum {
    /* A bin begins with room for this many objects and doubles when that is too small, up to its class's bin_cap: a
     * thread that needs few objects keeps few. Measure again with peak RSS of works a and larson. */
    CAP_FIRST = 16,
    /* A slot of at least so many bytes shares few of its cache lines with its neighbours. See shard_for. */
    WIDE_SLOT = 256,
    /* Every so many refills, idle large memory is looked for: some 5 ns a refill where there is any, else one load. */
    IDLE_PERIOD = 64,
};

/* What every bin of a static cache points at: empty, because it is NULL, and full, because top == end. */
static void *const nothing[1];
#define STATIC_CACHE                                                                                         \
    {                                                                                                        \
        .top = {[0 ... HAK_TAGS - 1] = (void **)nothing}, .end = { [0 ... HAK_TAGS - 1] = (void **)nothing } \
    }
static hak_cache before_first = STATIC_CACHE, after_last = STATIC_CACHE;

_Thread_local hak_cache *hak_cache_mine = &before_first;

hak_lock hak_cache_lock = HAK_LOCK_INIT(HAK_RANK_CACHES);
static hak_cache *waiting;                  /* caches of threads that have ended; hak_cache_lock */
static hak_cache *newest;                   /* of all caches; hak_cache_lock */
static unsigned threads_of[HAK_SHARDS_MAX]; /* how many threads use the shard; hak_cache_lock */

_Atomic size_t hak_caches_live, hak_cache_operations, hak_cache_out[HAK_TAGS];

static bool is_static(const hak_cache *cache) {
    return cache == &before_first || cache == &after_last;
}

static void count_moved(unsigned cls, size_t objects_before, size_t objects_after) {
    atomic_fetch_add_explicit(&hak_cache_out[cls], objects_after - objects_before, memory_order_relaxed);
    atomic_fetch_add_explicit(&hak_cache_operations, objects_after + objects_before, memory_order_relaxed);
}

static void give(void **objs, unsigned cls, unsigned count, unsigned shard) {
    if (count == 0)
        return;
    hak_depot_give_batch(shard, cls, objs, count);
    count_moved(cls, count, 0);
}

/* The shard whose depots refill the class. A thread finds free slots in that shard only, so what other shards have free is
 * memory that it cannot use again: several threads refill wide slots from one. Small ones do not, for there two threads'
 * objects would meet in one cache line. */
static unsigned shard_for(const hak_cache *cache, unsigned cls) {
    return hak_classes[cls].size < WIDE_SLOT ? cache->shard : cache->shard / HAK_POLICY_SHARERS;
}

/* The NULL below the bin's first entry. */
static void **base_of(hak_cache *cache, unsigned cls) {
    return &cache->entries[hak_classes[cls].bin_start - 1];
}

static void bins_init(hak_cache *cache) {
    memcpy(cache->fine, hak_class_fine, sizeof cache->fine);
    for (unsigned tag = 0; tag < HAK_TAGS; tag++) {
        bool holds = tag - 1u < HAK_CLASSES;
        void **top = holds ? base_of(cache, tag) : (void **)nothing;
        HAK_SHOW(cache->top[tag],
                 top); /* one that had an owner before is counted: never another value for a moment */
        cache->end[tag] = top + (holds ? hak_min(CAP_FIRST, hak_classes[tag].bin_cap) : 0);
    }
}

/* Doubles the room of a bin; false when it has all that its class allows. */
static bool bin_grow(hak_cache *cache, unsigned cls) {
    void **base = base_of(cache, cls);
    size_t cap = (size_t)(cache->end[cls] - base), most = hak_classes[cls].bin_cap;
    if (cap == most)
        return false;
    cache->end[cls] = base + hak_min(2 * cap, most);
    return true;
}

static size_t cache_bytes(void) {
    return hak_align_up(sizeof(hak_cache) + hak_class_bin_entries * sizeof(void *), hak_os_page);
}

/* A shard for the calling thread: the first of those that fewest use, as jemalloc chooses a thread's arena; so threads that come
 * and go meet the slabs of those before them. */
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

void hak_cache_alone(void) {
    memset(threads_of, 0, sizeof threads_of);
    if (!is_static(hak_cache_mine))
        threads_of[hak_cache_mine->shard] = 1;
    atomic_store_explicit(&hak_caches_live, !is_static(hak_cache_mine), memory_order_relaxed);
}

/* An object comes home without a cache. */
static void give_one(void *obj, unsigned cls) {
    if (hak_death_near())
        hak_death_look();
    give(&obj, cls, 1, 0);
}

bool hak_cache_begun(void) {
    return !is_static(hak_cache_mine);
}

/* A new cache, empty; NULL when there is no memory. */
static hak_cache *cache_map(void) {
    hak_cache *cache = (hak_cache *)hak_os_map_between(cache_bytes());
    if (cache == NULL)
        return NULL;
    bins_init(cache);
    hak_lock_take(&hak_cache_lock);
    cache->older = newest;
    newest = cache;
    hak_lock_give(&hak_cache_lock);
    return cache;
}

/* Their owners may be at work. */
void hak_cache_count(size_t objects[HAK_TAGS]) {
    hak_lock_take(&hak_cache_lock);
    for (hak_cache *cache = newest; cache != NULL; cache = cache->older)
        for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
            objects[cls] += (size_t)(HAK_GLANCE(cache->top[cls]) - base_of(cache, cls));
    hak_lock_give(&hak_cache_lock);
}

size_t hak_cache_objects(void) {
    size_t objects = 0;
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
        objects += atomic_load_explicit(&hak_cache_out[cls], memory_order_relaxed);
    return objects;
}

bool hak_cache_begin(void) {
    if (hak_cache_begun())
        return true;
    if (hak_cache_mine == &after_last)
        return false;
    hak_lock_take(&hak_cache_lock);
    hak_cache *cache = waiting;
    if (cache != NULL)
        waiting = cache->next;
    hak_lock_give(&hak_cache_lock);
    if (cache == NULL)
        cache = cache_map();
    if (cache == NULL)
        return false;
    cache->shard = shard_join();
    bins_init(cache);
    atomic_fetch_add_explicit(&hak_caches_live, 1, memory_order_relaxed);
    hak_cache_mine = cache;
    hak_policy_cache_born(give_one);
    return true;
}

void hak_cache_forsake(void) {
    hak_cache_mine = &after_last;
    hak_policy_cache_forsaken();
}

size_t hak_cache_held(void) {
    hak_cache *cache = hak_cache_mine;
    size_t held = 0;
    for (unsigned cls = 1; !is_static(cache) && cls <= HAK_CLASSES; cls++)
        held += (size_t)(cache->top[cls] - base_of(cache, cls));
    return held;
}

void hak_cache_flush_all(void) {
    hak_cache *cache = hak_cache_mine;
    if (is_static(cache))
        return;
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++) {
        void **base = base_of(cache, cls);
        give(base + 1, cls, (unsigned)(cache->top[cls] - base), shard_for(cache, cls));
        HAK_SHOW(cache->top[cls], base);
    }
}

void hak_cache_end(void) {
    hak_cache *cache = hak_cache_mine;
    if (hak_death_near())
        hak_death_look(); /* the thread ends instead of the process */
    if (is_static(cache))
        return;
    hak_policy_cache_dies();
    hak_cache_flush_all();
    hak_cache_mine = &after_last;
    atomic_fetch_sub_explicit(&hak_caches_live, 1, memory_order_relaxed);
    hak_lock_take(&hak_cache_lock);
    threads_of[cache->shard]--;
    cache->next = waiting;
    waiting = cache;
    hak_lock_give(&hak_cache_lock);
}

/* For a thread that has no cache: before its first call when there is no memory for one, and after its end. */
static void *take_one(unsigned cls) {
    void *obj;
    if (hak_death_near())
        hak_death_look();
    if (hak_depot_take_batch(0, cls, &obj, 1) == 0)
        return NULL;
    count_moved(cls, 0, 1);
    return obj;
}

void *hak_cache_refill_slow(unsigned cls) {
    hak_cache *cache = hak_cache_mine;
    if (is_static(cache))
        return take_one(cls);
    void **base = base_of(cache, cls);
    HAK_ASSERT(cache->top[cls] == base);
    unsigned want = (unsigned)hak_max(1, (size_t)(cache->end[cls] - base) / 2);
    unsigned got = hak_depot_take_batch(shard_for(cache, cls), cls, base + 1, want);
    if (got == 0)
        return NULL;
    count_moved(cls, 0, got);
    if (++cache->refills % IDLE_PERIOD == 0)
        hak_large_release_idle();
    hak_policy_on_refill(base + 1, got);
    HAK_SHOW(cache->top[cls], base + got);
    (void)bin_grow(cache, cls);
    return hak_cache_pop(cache, cls);
}

void hak_cache_flush_slow(void *obj, unsigned cls) {
    hak_cache *cache = hak_cache_mine;
    if (is_static(cache)) {
        give_one(obj, cls);
        return;
    }
    if (!bin_grow(cache, cls)) {
        /* The older half goes home; the rest is warm in the processor's caches. */
        void **base = base_of(cache, cls);
        unsigned count = (unsigned)(cache->top[cls] - base), home = (count + 1) / 2;
        give(base + 1, cls, home, shard_for(cache, cls));
        memmove(base + 1, base + 1 + home, (count - home) * sizeof(void *));
        HAK_SHOW(cache->top[cls], base + (count - home));
    }
    (void)hak_cache_push(cache, obj, cls);
}

HAK_UNSEEN void hak_cache_reset(void) {
    if (is_static(hak_cache_mine)) { /* the thread has ended its own: it waits with the others */
        HAK_ASSERT(waiting != NULL);
        hak_cache_mine = waiting;
        waiting = waiting->next;
    }
    for (hak_cache *cache = waiting, *next; cache != NULL; cache = next) {
        next = cache->next;
        hak_os_unmap_between((uintptr_t)cache, cache_bytes());
    }
    waiting = NULL;
    newest = hak_cache_mine;
    newest->older = NULL;
    bins_init(newest);
    hak_cache_mine->shard = 0;
    hak_cache_mine->refills = 0;
    hak_cache_alone();
}

static HAK_WALKER void check_bin(hak_cache *cache, unsigned cls, void **from) {
    void **base = base_of(cache, cls), **top = cache->top[cls], **end = cache->end[cls];
    HAK_CHECK(*base == NULL, "no NULL below a bin");
    HAK_CHECK(base <= top && top <= end && end <= base + hak_classes[cls].bin_cap, "bounds of bin");
    for (void **at = (from < base || from > top ? base : from) + 1; at <= top; at++) {
        HAK_CHECK(hak_tag_of(*at) == cls, "tag of cached object");
        hak_slab *slab = hak_slab_find((uintptr_t)*at, cls);
        HAK_CHECK(slab != NULL && slab->cls == cls, "slab of cached object");
    }
}

HAK_WALKER void hak_cache_check_bin(unsigned tag, void **from) {
    hak_cache *cache = hak_cache_mine;
    if (is_static(cache) || tag == HAK_TAG_NONE || tag == HAK_TAG_LARGE)
        HAK_CHECK(cache->top[tag] == (void **)nothing && cache->end[tag] == (void **)nothing,
                  "static bin was changed");
    else
        check_bin(cache, tag, from);
}

HAK_WALKER void hak_cache_check(void) {
    for (unsigned tag = 0; tag < HAK_TAGS; tag++)
        hak_cache_check_bin(tag, NULL);
}
