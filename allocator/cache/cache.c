/* cache.c: refill, flush, and the life of a thread's cache. See cache.h. */
#include "allocator/cache/cache.h"

#include "allocator/os/death.h"
#include "allocator/os/os.h"
#include "allocator/pages/tag.h"
#include "allocator/policy.h"

#include <string.h>

enum {
    /* A bin begins with room for this many objects or bytes and doubles when that is too small, up to its class's
     * bin_cap: a thread that needs few objects keeps few. Measure again with peak RSS of works a and larson. */
    CAP_FIRST = 16,
    BYTES_FIRST = 16 * HAK_KIB,
    /* The bins of a thread may hold this much, and those of all threads that, or so much for each shard; nevertheless
     * each thread the last one. What idle threads hold is out of reach, so it is small: 200 of them keep some 40 MiB.
     * Measure again with workloads d, f and larson. */
    THREAD_BYTES = 8 * HAK_MIB,
    TOTAL_BYTES = 16 * HAK_MIB,
    TOTAL_PER_SHARD = HAK_MIB,
    ALWAYS_BYTES = 192 * HAK_KIB,
    /* The same of a cache that a thread has for one of its partitions, and how many of those there are at most: each is
     * a mapping of its own, of which a process may have 65,530. Who gets none works with the depots. */
    ALWAYS_TYPED = 24 * HAK_KIB,
    TYPED_MOST = 2048,
    /* So many new slabs age the bins as a second does: a thread whose need moves to other sizes leaves slots behind
     * that pin whole slabs. */
    SLABS_PER_AGE = 32,
    /* When free slots between others' are more than this part of what is out, and this much, bins that are not used are
     * emptied. */
    SPARSE_PART = 4,
    SPARSE_MIN = 16 * HAK_MIB,
    /* A slot of at least so many bytes shares few of its cache lines with its neighbours. See shard_for. */
    WIDE_SLOT = 256,
};

/* What every bin of a static cache points at: empty, because it is NULL, and full, because top == end. */
static void *const nothing[1];
#define STATIC_CACHE                                                                                         \
    {                                                                                                        \
        .top = {[0 ... HAK_BINS - 1] = (void **)nothing}, .end = { [0 ... HAK_TAGS - 1] = (void **)nothing } \
    }
static hak_cache before_first = STATIC_CACHE, after_last = STATIC_CACHE;

_Thread_local hak_cache *hak_cache_mine = &before_first;

hak_lock hak_cache_lock = HAK_LOCK_INIT(HAK_RANK_CACHES);
static hak_cache *waiting; /* caches of threads that have ended; hak_cache_lock */
static hak_cache *newest;  /* of all caches; hak_cache_lock */
/* In a child: from where on along `older` all are nobody's, but for those of the thread that there is. */
static hak_cache *lost;
static unsigned forks;                      /* how often hak_cache_alone was called */
static unsigned threads_of[HAK_SHARDS_MAX]; /* how many threads use the shard; hak_cache_lock */

_Atomic size_t hak_cache_room;
static _Atomic unsigned ages, trims, typed_caches;

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

/* The shard whose depots refill the class. A thread finds free slots in that shard only, so what other shards have free
 * is memory that it cannot use again: several threads refill wide slots from one. Small ones do not, for there two
 * threads' objects would meet in one cache line. */
static unsigned shard_for(const hak_cache *cache, unsigned cls) {
    return hak_classes[cls].size < WIDE_SLOT ? cache->shard : cache->shard / HAK_POLICY_SHARERS;
}

/* With a profile malloc pops from rations, which are empty. */
static void rations_init(hak_cache *cache) {
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
        HAK_SHOW(cache->top[HAK_RATION_OF(cls)],
                 cache->rations != NULL ? cache->rations->entries[cls] : (void **)nothing);
    if (cache->rations != NULL)
        cache->rations->busy = false;
    for (size_t size = 0; cache->rations != NULL && size <= HAK_FINE_MAX; size++)
        cache->fine[size] = (uint8_t)HAK_RATION_OF(hak_class_fine[size]);
}

static void bins_init(hak_cache *cache) {
    memcpy(cache->fine, hak_class_fine, sizeof cache->fine);
    rations_init(cache);
    if (HAK_POLICY_NOTHING_APART)
        cache->fine[HAK_POLICY_EXTRA] = 0; /* whose bin is always empty */
    for (unsigned tag = 0; tag < HAK_TAGS; tag++) {
        void **base = tag - 1u < HAK_CLASSES ? hak_cache_base(cache, tag) : (void **)nothing;
        HAK_SHOW(cache->top[tag],
                 base); /* one that had an owner before is counted: never another value for a moment */
        cache->end[tag] = cache->seen[tag] = base;
    }
    cache->room = 0;
}

/* The bin may hold so many objects from now on. */
static void set_room(hak_cache *cache, unsigned cls, size_t places) {
    void **base = hak_cache_base(cache, cls), **end = base + places;
    size_t more = (size_t)(end - cache->end[cls]) * hak_classes[cls].size; /* wraps when it is less */
    cache->end[cls] = end;
    cache->room += more;
    atomic_fetch_add_explicit(&hak_cache_room, more, memory_order_relaxed);
}

static bool may_hold(const hak_cache *cache, size_t more) {
    size_t room = cache->room + more,
           total = atomic_load_explicit(&hak_cache_room, memory_order_relaxed) + more;
    return room <= (cache->partition == 0 ? ALWAYS_BYTES : ALWAYS_TYPED) ||
           (room <= THREAD_BYTES && total <= hak_max(TOTAL_BYTES, (size_t)hak_shards * TOTAL_PER_SHARD));
}

/* Doubles the room of a bin; false when it has all that its class, its thread or all threads may have. */
static bool bin_grow(hak_cache *cache, unsigned cls) {
    const hak_class_info *info = &hak_classes[cls];
    size_t cap = (size_t)(cache->end[cls] - hak_cache_base(cache, cls));
    size_t first = hak_max(1, hak_min(CAP_FIRST, BYTES_FIRST / info->size));
    size_t next = hak_min(hak_max(first, 2 * cap), info->bin_cap);
    if (cap == next || !may_hold(cache, (next - cap) * info->size))
        return false;
    set_room(cache, cls, next);
    return true;
}

/* The older `home` objects of the bin go home. */
static void bin_flush(hak_cache *cache, unsigned cls, unsigned home) {
    void **base = hak_cache_base(cache, cls);
    unsigned count = (unsigned)(cache->top[cls] - base);
    give(base + 1, cls, home, shard_for(cache, cls));
    memmove(base + 1, base + 1 + home, (count - home) * sizeof(void *));
    HAK_SHOW(cache->top[cls], base + (count - home));
}

static void bin_shrink(hak_cache *cache, unsigned cls, size_t places) {
    unsigned count = (unsigned)(cache->top[cls] - hak_cache_base(cache, cls));
    if (count > places)
        bin_flush(cache, cls, count - (unsigned)places);
    set_room(cache, cls, places);
}

static unsigned ration_count(const hak_cache *cache, unsigned cls) {
    return cache->rations == NULL
               ? 0
               : (unsigned)(HAK_GLANCE(cache->top[HAK_RATION_OF(cls)]) - cache->rations->entries[cls]);
}

/* What was not allocated after all is counted again later. */
static void ration_flush(hak_cache *cache, unsigned cls) {
    unsigned count = ration_count(cache, cls);
    if (count == 0)
        return;
    give(cache->rations->entries[cls] + 1, cls, count, shard_for(cache, cls));
    cache->rations->left[cls] += count;
    HAK_SHOW(cache->top[HAK_RATION_OF(cls)], cache->rations->entries[cls]);
}

static void flush_bins(hak_cache *cache) {
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++) {
        ration_flush(cache, cls);
        bin_flush(cache, cls, (unsigned)(cache->top[cls] - hak_cache_base(cache, cls)));
        set_room(cache, cls, 0);
    }
}

bool hak_cache_sparse(void) {
    size_t out = 0, held = atomic_load_explicit(&hak_superslab_live_bytes, memory_order_relaxed);
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
        out += atomic_load_explicit(&hak_cache_out[cls], memory_order_relaxed) * hak_classes[cls].size;
    return held > out + hak_max(SPARSE_MIN, out / SPARSE_PART);
}

/* All but the one of class `used`. */
static void age_bins(hak_cache *cache, unsigned used, bool sparse) {
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++) {
        size_t room = (size_t)(cache->end[cls] - hak_cache_base(cache, cls));
        if (cls != used && cache->top[cls] == cache->seen[cls] && room != 0)
            bin_shrink(cache, cls, sparse ? 0 : room / 2);
        cache->seen[cls] = cache->top[cls];
    }
}

/* The calling thread's; `at` is where a slow call is, for class `used`. */
static HAK_NOINLINE void age_slow(const hak_cache *at, unsigned used, unsigned age) {
    hak_cache *mine = hak_cache_mine;
    bool sparse = hak_cache_sparse();
    unsigned trim = atomic_load_explicit(&trims, memory_order_relaxed);
    mine->age = age;
    for (hak_cache *cache = mine; cache != NULL; cache = cache->parts) {
        if (mine->trim != trim)
            flush_bins(cache);
        age_bins(cache, cache == at ? used : 0, sparse);
    }
    mine->trim = trim;
    hak_policy_cache_age(sparse);
}

/* At each slow call. */
static void age_look(const hak_cache *cache, unsigned used) {
    unsigned age = atomic_load_explicit(&ages, memory_order_relaxed) +
                   (unsigned)(atomic_load_explicit(&hak_slabs_fresh, memory_order_relaxed) / SLABS_PER_AGE);
    if (HAK_UNLIKELY(age != hak_cache_mine->age))
        age_slow(cache, used, age);
}

void hak_cache_age(void) {
    atomic_fetch_add_explicit(&ages, 1, memory_order_relaxed);
}

static size_t cache_bytes(void) {
    return hak_align_up(sizeof(hak_cache) + hak_class_bin_entries * sizeof(void *), hak_os_page);
}

/* A shard for the calling thread: the first of those that fewest use, as jemalloc chooses a thread's arena; so threads
 * that come and go meet the slabs of those before them. */
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

/* Nothing is written into the others' caches, which would copy their pages: whoever takes one empties it. */
void hak_cache_alone(void) {
    waiting = NULL;
    lost = newest;
    forks++;
    memset(threads_of, 0, sizeof threads_of);
    if (!is_static(hak_cache_mine))
        threads_of[hak_cache_mine->shard] = 1;
    size_t room = 0;
    unsigned caches = 0;
    for (hak_cache *cache = hak_cache_mine; cache != NULL; cache = cache->parts, caches++) {
        room += cache->room;
        cache->survived = forks;
    }
    atomic_store_explicit(&hak_cache_room, room, memory_order_relaxed);
    atomic_store_explicit(&typed_caches, caches - 1, memory_order_relaxed);
    atomic_store_explicit(&hak_caches_live, !is_static(hak_cache_mine), memory_order_relaxed);
}

void hak_cache_give_one(void *obj, unsigned cls) {
    if (hak_death_near())
        hak_death_look();
    give(&obj, cls, 1, 0);
}

bool hak_cache_begun(void) {
    return !is_static(hak_cache_mine);
}

static bool profiled;

void hak_cache_profile(void) {
    profiled = true;
}

/* A new cache, empty; NULL when there is no memory. Without memory for rations its thread is not in the profile, and
 * goes by the bins for sizes whose classes are its own. */
static hak_cache *cache_map(void) {
    hak_cache *cache = (hak_cache *)hak_os_map_between(cache_bytes());
    if (cache == NULL)
        return NULL;
    if (profiled)
        cache->rations = (hak_rations *)hak_os_map_between(hak_align_up(sizeof *cache->rations, hak_os_page));
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
            objects[cls] +=
                (size_t)(HAK_GLANCE(cache->top[cls]) - hak_cache_base(cache, cls)) + ration_count(cache, cls);
    hak_lock_give(&hak_cache_lock);
}

size_t hak_cache_objects(void) {
    size_t objects = 0;
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
        objects += atomic_load_explicit(&hak_cache_out[cls], memory_order_relaxed);
    return objects;
}

/* A cache that nobody has, NULL: there is none. */
static hak_cache *cache_again(void) {
    hak_lock_check_held(&hak_cache_lock);
    hak_cache *cache = waiting;
    if (cache != NULL) {
        waiting = cache->next;
        return cache;
    }
    while (lost != NULL && lost->survived == forks)
        lost = lost->older;
    cache = lost;
    if (cache != NULL)
        lost = cache->older;
    return cache;
}

/* One that a thread has left, or a new one; NULL when there is no memory. Its bins are empty. */
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
    bins_init(cache);
    return cache;
}

bool hak_cache_begin(void) {
    if (hak_cache_begun())
        return true;
    if (hak_cache_mine == &after_last)
        return false;
    hak_cache *cache = cache_take(0);
    if (cache == NULL)
        return false;
    cache->shard = shard_join();
    memset(cache->part, 0, sizeof cache->part);
    cache->trim = atomic_load_explicit(&trims, memory_order_relaxed);
    atomic_fetch_add_explicit(&hak_caches_live, 1, memory_order_relaxed);
    hak_cache_mine = cache;
    hak_policy_cache_born();
    return true;
}

void hak_cache_forsake(void) {
    for (const hak_cache *cache = hak_cache_mine; cache != NULL;
         cache = cache->parts) /* NULL: see shim_early.c */
        atomic_fetch_sub_explicit(&hak_cache_room, cache->room, memory_order_relaxed);
    hak_cache_mine = &after_last;
    hak_policy_cache_forsaken();
}

size_t hak_cache_held(void) {
    size_t held = 0;
    for (hak_cache *cache = hak_cache_mine; cache != NULL; cache = cache->parts)
        for (unsigned cls = 1; !is_static(cache) && cls <= HAK_CLASSES; cls++)
            held += (size_t)(cache->top[cls] - hak_cache_base(cache, cls)) + ration_count(cache, cls);
    return held;
}

void hak_cache_flush_all(void) {
    for (hak_cache *cache = hak_cache_mine; cache != NULL && !is_static(cache); cache = cache->parts)
        flush_bins(cache);
}

void hak_cache_trim(void) {
    hak_cache_flush_all();
    atomic_fetch_add_explicit(&trims, 1, memory_order_relaxed);
    hak_cache_age();
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
    if (is_static(cache))
        return;
    hak_policy_cache_dies();
    hak_cache_flush_all();
    hak_cache_mine = &after_last;
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

/* For a thread that has no cache, before its first call when there is no memory for one and after its end; and for a
 * bin without room. */
static void *take_one(unsigned cls, unsigned shard) {
    void *obj;
    if (hak_death_near())
        hak_death_look();
    if (hak_depot_take_batch(shard, cls, &obj, 1) == 0)
        return NULL;
    count_moved(cls, 0, 1);
    return obj;
}

static void *refill(hak_cache *cache, unsigned cls) {
    age_look(cache, cls);
    void **base = hak_cache_base(cache, cls);
    HAK_ASSERT(cache->top[cls] == base);
    if (cache->end[cls] == base && !bin_grow(cache, cls))
        return take_one(cls, shard_for(cache, cls));
    unsigned want = (unsigned)hak_max(1, (size_t)(cache->end[cls] - base) / 2);
    unsigned got = hak_depot_take_batch(shard_for(cache, cls), cls, base + 1, want);
    if (got == 0)
        return NULL;
    count_moved(cls, 0, got);
    hak_policy_on_refill(base + 1, got);
    HAK_SHOW(cache->top[cls], base + got);
    (void)bin_grow(cache, cls);
    return hak_cache_pop(cache, cls);
}

void *hak_cache_refill_slow(unsigned cls) {
    return is_static(hak_cache_mine) ? take_one(cls, 0) : refill(hak_cache_mine, cls);
}

void *hak_cache_take_zeroed(unsigned cls, bool *zeroed) {
    hak_cache *cache = hak_cache_mine;
    *zeroed = false;
    void *obj = hak_cache_pop(cache, cls);
    if (obj != NULL)
        return obj;
    if (!is_static(cache))
        age_look(cache, cls);
    obj = hak_depot_take_zeroed(is_static(cache) ? 0 : shard_for(cache, cls), cls, zeroed);
    if (obj != NULL)
        count_moved(cls, 0, 1);
    return obj;
}

static void flush(hak_cache *cache, void *obj, unsigned cls) {
    age_look(cache, cls);
    if (!bin_grow(cache, cls)) {
        unsigned count = (unsigned)(cache->top[cls] - hak_cache_base(cache, cls));
        if (cache->end[cls] == hak_cache_base(cache, cls)) { /* it may have no room at all */
            give(&obj, cls, 1, shard_for(cache, cls));
            return;
        }
        bin_flush(cache, cls, (count + 1) / 2); /* the rest is warm in the processor's caches */
    }
    (void)hak_cache_push(cache, obj, cls);
}

void hak_cache_flush_slow(void *obj, unsigned cls) {
    if (is_static(hak_cache_mine))
        hak_cache_give_one(obj, cls);
    else
        flush(hak_cache_mine, obj, cls);
}

/* The shard of the partition. A fork has taken the lock before it takes those of the depots, so they do not become more
 * meanwhile. */
static unsigned shard_of(unsigned partition) {
    if (HAK_UNLIKELY(partition > atomic_load_explicit(&hak_depot_partitions, memory_order_acquire))) {
        hak_lock_take(&hak_cache_lock);
        hak_depot_open(partition);
        hak_lock_give(&hak_cache_lock);
    }
    return hak_shards + partition - 1;
}

/* The calling thread's cache for the partition; NULL: it has none, and gets none. */
static hak_cache *typed_cache(unsigned partition) {
    hak_cache *mine = hak_cache_mine, *cache = mine->part[partition];
    if (HAK_LIKELY(cache != NULL) || is_static(mine) ||
        atomic_load_explicit(&typed_caches, memory_order_relaxed) >= TYPED_MOST)
        return cache;
    cache = cache_take(partition);
    if (cache == NULL)
        return NULL;
    atomic_fetch_add_explicit(&typed_caches, 1, memory_order_relaxed);
    cache->shard = shard_of(partition);
    cache->parts = mine->parts;
    mine->parts = mine->part[partition] = cache;
    return cache;
}

void *hak_cache_refill_typed(unsigned partition, unsigned cls) {
    hak_cache *cache = typed_cache(partition);
    if (HAK_UNLIKELY(cache == NULL))
        return take_one(cls, shard_of(partition));
    void *obj = hak_cache_pop(cache, cls);
    return obj != NULL ? obj : refill(cache, cls);
}

void hak_cache_give_typed(unsigned partition, void *obj, unsigned cls) {
    hak_cache *cache = typed_cache(partition);
    if (HAK_UNLIKELY(cache == NULL))
        hak_cache_give_one(obj, cls);
    else if (!hak_cache_push(cache, obj, cls))
        flush(cache, obj, cls);
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
    for (hak_cache *cache = hak_cache_mine->parts, *next; cache != NULL; cache = next) {
        next = cache->parts;
        hak_os_unmap_between((uintptr_t)cache, cache_bytes());
    }
    hak_cache_mine->parts = NULL;
    memset(hak_cache_mine->part, 0, sizeof hak_cache_mine->part);
    waiting = NULL;
    newest = hak_cache_mine;
    newest->older = NULL;
    bins_init(newest);
    atomic_store(&hak_cache_room, 0);
    atomic_store(&ages, 0);
    atomic_store(&trims, 0);
    newest->age = newest->trim = 0;
    hak_cache_mine->shard = 0;
    hak_cache_alone();
}

static HAK_WALKER void check_bin(hak_cache *cache, unsigned cls, void **from) {
    void **base = hak_cache_base(cache, cls), **top = cache->top[cls], **end = cache->end[cls];
    HAK_CHECK(*base == NULL, "no NULL below a bin");
    HAK_CHECK(base <= top && top <= end && end <= base + hak_classes[cls].bin_cap, "bounds of bin");
    for (void **at = (from < base || from > top ? base : from) + 1; at <= top; at++) {
        HAK_CHECK(hak_tag_of(*at) == cls, "tag of cached object");
        hak_slab *slab = hak_slab_find((uintptr_t)*at, cls);
        HAK_CHECK(slab != NULL && slab->cls == cls, "slab of cached object");
        HAK_CHECK(hak_shard_partition(slab->shard) == cache->partition, "partition of cached object");
    }
}

HAK_WALKER void hak_cache_check_bin(unsigned tag, void **from) {
    hak_cache *cache = hak_cache_mine;
    if (is_static(cache) || tag - 1u >= HAK_CLASSES)
        HAK_CHECK(cache->top[tag] == (void **)nothing && cache->end[tag] == (void **)nothing,
                  "static bin was changed");
    else
        check_bin(cache, tag, from);
}

HAK_WALKER void hak_cache_check(void) {
    for (unsigned tag = 0; tag < HAK_TAGS; tag++)
        hak_cache_check_bin(tag, NULL);
    for (hak_cache *cache = hak_cache_mine->parts; cache != NULL; cache = cache->parts)
        for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
            check_bin(cache, cls, NULL);
}
