/* cache.c: bins: their room, refill and flush. See cache.h. */
#include "allocator/cache/cache_own.h"

#include "allocator/base/probe.h"
#include "allocator/os/death.h"
#include "allocator/os/os.h"
#include "allocator/pages/mapped_limit.h"
#include "allocator/pages/release.h"
#include "allocator/pages/tag.h"
#include "allocator/policy.h"

#include <string.h>

enum {
    /* A bin begins with room for this many objects or bytes and doubles when that is too small, up to its
     * class's bin_cap: a thread that needs few objects keeps few. Measure again with peak RSS of workloads a
     * and larson. */
    CAP_FIRST = 16,
    BYTES_FIRST = 16 * HAK_KIB,
    /* THREAD_BYTES limits the bins of one thread. TOTAL_BYTES, or TOTAL_PER_SHARD for each shard if that is
     * more, limits those of all threads. Each thread may have ALWAYS_BYTES in any case; this is small, because
     * memory in the bins of idle threads is out of reach: 200 of them keep some 40 MiB. Measure again with
     * workloads d, f and larson. */
    THREAD_BYTES = 8 * HAK_MIB,
    TOTAL_BYTES = 16 * HAK_MIB,
    TOTAL_PER_SHARD = HAK_MIB,
    ALWAYS_BYTES = 192 * HAK_KIB,
    /* The same of a cache that a thread has for one of its partitions. */
    ALWAYS_TYPED = 24 * HAK_KIB,
    /* Bins age after so many new slabs as they do after a second: a thread that moves to other sizes leaves
     * slots behind that pin whole slabs. */
    SLABS_PER_AGE = 32,
    /* When free slots are more than this part of what is out, and more than this many bytes, unused bins are
     * emptied. */
    SPARSE_PART = 4,
    SPARSE_MIN = 16 * HAK_MIB,
    /* A slot of at least so many bytes shares few of its cache lines with its neighbours. See shard_for. */
    WIDE_SLOT = 256,
};

_Atomic size_t hak_cache_room;
_Atomic unsigned hak_cache_ages, hak_cache_trims;

_Atomic size_t hak_caches_live, hak_cache_operations, hak_cache_out[HAK_TAGS];

static void count_moved(unsigned cls, size_t objects_before, size_t objects_after) {
    atomic_fetch_add_explicit(&hak_cache_out[cls], objects_after - objects_before, memory_order_relaxed);
    atomic_fetch_add_explicit(&hak_cache_operations, objects_after + objects_before, memory_order_relaxed);
}

void hak_cache_count_given(unsigned cls, size_t objects) {
    count_moved(cls, objects, 0);
}

static void give(void **objs, unsigned cls, unsigned count, unsigned shard) {
    if (count == 0)
        return;
    hak_depot_give_batch(shard, cls, objs, count);
    count_moved(cls, count, 0);
}

/* The shard whose depots refill the class. A thread finds free slots in that shard only and cannot reuse those
 * of other shards. So several threads share a shard for wide slots. For small slots they do not: objects of two
 * threads would meet in one cache line. */
unsigned hak_cache_shard_for(const hak_cache *cache, unsigned cls) {
    return hak_classes[cls].size < WIDE_SLOT ? cache->shard : cache->shard / HAK_POLICY_SHARERS;
}

/* Empties the rations, from which malloc pops when the heap profile is on. */
static void rations_init(hak_cache *cache) {
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
        HAK_SHOW(cache->top[HAK_RATION_OF(cls)],
                 cache->rations != NULL ? cache->rations->entries[cls] : (void **)hak_cache_nothing);
    if (cache->rations != NULL)
        cache->rations->busy = false;
}

/* The classes, or rations, of the small sizes. */
static void name_fine(hak_cache *cache) {
    unsigned from = cache->rations != NULL ? HAK_RATIONS_FROM : 0;
    for (size_t size = 0; size <= HAK_FINE_MAX; size++)
        cache->fine[size] = (uint8_t)(HAK_GLANCE(hak_class_fine[size]) + from);
    if (HAK_POLICY_NOTHING_APART)
        cache->fine[HAK_POLICY_EXTRA] = 0; /* whose bin is always empty */
}

void hak_cache_bins_init(hak_cache *cache) {
    rations_init(cache);
    name_fine(cache);
    for (unsigned tag = 0; tag < HAK_TAGS; tag++) {
        void **base = tag - 1u < HAK_CLASSES ? hak_cache_base(cache, tag) : (void **)hak_cache_nothing;
        HAK_SHOW(cache->top[tag],
                 base); /* one that had an owner before is counted: never another value for a moment */
        cache->end[tag] = cache->seen[tag] = base;
        HAK_SHOW(cache->gone[tag], 0);
    }
    HAK_SHOW(cache->room, 0);
    HAK_SHOW(cache->lent, 0);
}

/* Sets the room of the bin, in objects. */
static void set_room(hak_cache *cache, unsigned cls, size_t places) {
    void **base = hak_cache_base(cache, cls), **end = base + places;
    size_t more = (size_t)(end - cache->end[cls]) * hak_classes[cls].size; /* wraps when it is less */
    cache->end[cls] = end;
    HAK_SHOW(cache->room, cache->room + more);
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
    if (cap == next || HAK_UNLIKELY(hak_limit_is_costly(cls)) || !may_hold(cache, (next - cap) * info->size))
        return false;
    set_room(cache, cls, next);
    return true;
}

/* Gives the oldest `home` objects of the bin to their depots. */
static void bin_flush(hak_cache *cache, unsigned cls, unsigned home) {
    void **base = hak_cache_base(cache, cls);
    unsigned count = (unsigned)(cache->top[cls] - base);
    HAK_PROBE(flush, cls, home);
    give(base + 1, cls, home, hak_cache_shard_for(cache, cls));
    memmove(base + 1, base + 1 + home, (count - home) * sizeof(void *));
    HAK_SHOW(cache->top[cls], base + (count - home));
}

static void bin_shrink(hak_cache *cache, unsigned cls, size_t places) {
    unsigned count = (unsigned)(cache->top[cls] - hak_cache_base(cache, cls));
    if (count > places)
        bin_flush(cache, cls, count - (unsigned)places);
    set_room(cache, cls, places);
}

unsigned hak_cache_ration_count(const hak_cache *cache, unsigned cls) {
    return cache->rations == NULL
               ? 0
               : (unsigned)(HAK_GLANCE(cache->top[HAK_RATION_OF(cls)]) - cache->rations->entries[cls]);
}

/* Gives the objects of a ration back. They were counted in advance but not allocated, so they are counted again
 * later. */
static void ration_flush(hak_cache *cache, unsigned cls) {
    unsigned count = hak_cache_ration_count(cache, cls);
    if (count == 0)
        return;
    give(cache->rations->entries[cls] + 1, cls, count, hak_cache_shard_for(cache, cls));
    cache->rations->left[cls] += count;
    HAK_SHOW(cache->top[HAK_RATION_OF(cls)], cache->rations->entries[cls]);
}

static void flush_bins(hak_cache *cache) {
    unsigned char was = hak_cache_work_begin(cache);
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++) {
        ration_flush(cache, cls);
        bin_flush(cache, cls, (unsigned)(cache->top[cls] - hak_cache_base(cache, cls)));
        set_room(cache, cls, 0);
    }
    hak_cache_work_end(cache, was);
}

bool hak_cache_sparse(void) {
    size_t out = 0, held = hak_release_slabs_live();
    size_t bare = atomic_load_explicit(&hak_release_slabs_bare, memory_order_relaxed);
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
        out += atomic_load_explicit(&hak_cache_out[cls], memory_order_relaxed) * hak_classes[cls].size;
    out -= hak_min(out, bare);
    return held > out + hak_max(SPARSE_MIN, out / SPARSE_PART);
}

/* Ages all bins except the one of class `used`. */
static void age_bins(hak_cache *cache, unsigned used, bool sparse) {
    unsigned char was = hak_cache_work_begin(cache);
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++) {
        size_t room = (size_t)(cache->end[cls] - hak_cache_base(cache, cls));
        if (cls != used && cache->top[cls] == cache->seen[cls] && room != 0)
            bin_shrink(cache, cls, sparse ? 0 : room / 2);
        cache->seen[cls] = cache->top[cls];
    }
    hak_cache_work_end(cache, was);
}

/* Ages the calling thread's caches. A slow call is at work in the bin of class `used` of the cache `at`. */
static HAK_NOINLINE void age_slow(const hak_cache *at, unsigned used, unsigned age) {
    hak_cache *mine = hak_cache_mine;
    bool sparse = hak_cache_sparse();
    unsigned trim = atomic_load_explicit(&hak_cache_trims, memory_order_relaxed);
    unsigned splits = atomic_load_explicit(&hak_class_splits, memory_order_relaxed);
    HAK_SHOW(mine->age, age);
    for (hak_cache *cache = mine; cache != NULL; cache = cache->parts) {
        if (mine->trim != trim)
            flush_bins(cache);
        age_bins(cache, cache == at ? used : 0, sparse);
        if (mine->splits != splits)
            name_fine(cache);
    }
    mine->trim = trim;
    mine->splits = splits;
    hak_policy_cache_age(sparse);
}

/* At each slow call. */
static void age_look(const hak_cache *cache, unsigned used) {
    unsigned age = atomic_load_explicit(&hak_cache_ages, memory_order_relaxed) +
                   atomic_load_explicit(&hak_class_splits, memory_order_relaxed) +
                   (unsigned)(atomic_load_explicit(&hak_slabs_fresh, memory_order_relaxed) / SLABS_PER_AGE);
    if (HAK_UNLIKELY(age != hak_cache_mine->age))
        age_slow(cache, used, age);
}

void hak_cache_age(void) {
    atomic_fetch_add_explicit(&hak_cache_ages, 1, memory_order_relaxed);
}

void hak_cache_give_one(void *obj, unsigned cls) {
    if (hak_death_near())
        hak_death_look();
    give(&obj, cls, 1, 0);
}

size_t hak_cache_objects(void) {
    size_t objects = 0;
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
        objects += atomic_load_explicit(&hak_cache_out[cls], memory_order_relaxed);
    return objects;
}

void hak_cache_flush_all(void) {
    for (hak_cache *cache = hak_cache_mine; cache != NULL && !hak_cache_is_static(cache);
         cache = cache->parts)
        flush_bins(cache);
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

static void *refill_bin(hak_cache *cache, unsigned cls) {
    void *obj = hak_cache_pop(cache, cls);
    if (HAK_UNLIKELY(obj != NULL))
        return obj; /* another thread was about to recall it */
    void **base = hak_cache_base(cache, cls);
    HAK_ASSERT(cache->top[cls] == base);
    if (cache->end[cls] == base && !bin_grow(cache, cls))
        return take_one(cls, hak_cache_shard_for(cache, cls));
    unsigned want = (unsigned)hak_max(1, (size_t)(cache->end[cls] - base) / 2);
    unsigned got = hak_depot_take_batch(hak_cache_shard_for(cache, cls), cls, base + 1, want);
    if (got == 0)
        return NULL;
    count_moved(cls, 0, got);
    HAK_PROBE(refill, cls, got);
    hak_policy_on_refill(base + 1, got);
    HAK_SHOW(cache->top[cls], base + got);
    (void)bin_grow(cache, cls);
    return hak_cache_pop(cache, cls);
}

static void *refill(hak_cache *cache, unsigned cls) {
    age_look(cache, cls);
    unsigned char was = hak_cache_work_begin(cache);
    void *obj = refill_bin(cache, cls);
    hak_cache_work_end(cache, was);
    return obj;
}

void *hak_cache_refill_slow(unsigned cls) {
    return hak_cache_is_static(hak_cache_mine) ? take_one(cls, 0) : refill(hak_cache_mine, cls);
}

void *hak_cache_take_zeroed(unsigned cls, bool *zeroed) {
    hak_cache *cache = hak_cache_mine;
    *zeroed = false;
    void *obj = hak_cache_pop(cache, cls);
    if (obj != NULL)
        return obj;
    if (!hak_cache_is_static(cache))
        age_look(cache, cls);
    obj =
        hak_depot_take_zeroed(hak_cache_is_static(cache) ? 0 : hak_cache_shard_for(cache, cls), cls, zeroed);
    if (obj != NULL)
        count_moved(cls, 0, 1);
    return obj;
}

static void flush_bin(hak_cache *cache, void *obj, unsigned cls) {
    if (HAK_UNLIKELY(cache->top[cls] != cache->end[cls])) { /* objects were recalled */
        (void)hak_cache_push(cache, obj, cls);
        return;
    }
    if (!bin_grow(cache, cls)) {
        unsigned count = (unsigned)(cache->top[cls] - hak_cache_base(cache, cls));
        if (cache->end[cls] == hak_cache_base(cache, cls)) { /* it may have no room at all */
            give(&obj, cls, 1, hak_cache_shard_for(cache, cls));
            return;
        }
        bin_flush(cache, cls, (count + 1) / 2); /* the rest is warm in the processor's caches */
    }
    (void)hak_cache_push(cache, obj, cls);
}

static void flush(hak_cache *cache, void *obj, unsigned cls) {
    age_look(cache, cls);
    unsigned char was = hak_cache_work_begin(cache);
    flush_bin(cache, obj, cls);
    hak_cache_work_end(cache, was);
}

void hak_cache_flush_slow(void *obj, unsigned cls) {
    if (hak_cache_is_static(hak_cache_mine))
        hak_cache_give_one(obj, cls);
    else
        flush(hak_cache_mine, obj, cls);
}

void *hak_cache_refill_typed(unsigned partition, unsigned cls) {
    hak_cache *cache = hak_cache_typed(partition);
    if (HAK_UNLIKELY(cache == NULL))
        return hak_cache_open(partition) ? take_one(cls, hak_cache_shard_of(partition)) : NULL;
    void *obj = hak_cache_pop(cache, cls);
    return obj != NULL ? obj : refill(cache, cls);
}

void hak_cache_give_typed(unsigned partition, void *obj, unsigned cls) {
    hak_cache *cache = hak_cache_typed(partition);
    if (HAK_UNLIKELY(cache == NULL))
        hak_cache_give_one(obj, cls);
    else if (!hak_cache_push(cache, obj, cls))
        flush(cache, obj, cls);
}

static HAK_WALKER void check_bin(hak_cache *cache, unsigned cls, void **from) {
    hak_cache_work_end(cache, hak_cache_work_begin(cache)); /* closes gaps */
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
    if (hak_cache_is_static(cache) || tag - 1u >= HAK_CLASSES)
        HAK_CHECK(cache->top[tag] == (void **)hak_cache_nothing &&
                      cache->end[tag] == (void **)hak_cache_nothing,
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
