/* depot.c: see depot.h. */
#include "allocator/heap/depot.h"

#include "allocator/pages/mapped_limit.h"
#include "allocator/policy.h"

typedef struct depot {
    hak_lock lock;
    uint32_t empty;   /* slabs in `partial` that have all their slots free */
    hak_link partial; /* slabs with at least one free slot */
} __attribute__((aligned(HAK_CACHELINE))) depot;

enum {
    /* So many empty slabs stay in a depot, so that a class whose need swings by a few objects does not take and
     * give a slab over and over. */
    EMPTY_KEPT = 1,
    /* But none above this size: an object of the class costs more to use than its slab to take, and the depots of
     * all classes would hold tens of MiB. */
    EMPTY_BYTES = 512 * HAK_KIB,
    EMPTY_BYTES_LIMITED = HAK_GRANULE, /* under a limit, where others may need the memory */
    /* Pages between objects go when no slot of the slab was taken for some seconds; again when an eighth of its
     * slots more are free. */
    PURGE_UNUSED = 2,
    PURGE_PART = 8,
};

static depot (*depots)[HAK_TAGS]; /* by shard; NULL before the first one begins */
_Atomic unsigned hak_depot_partitions;

/* Of threads and of partitions. A report may come before there are any. */
static unsigned shards_in_use(void) {
    unsigned partitions = atomic_load_explicit(&hak_depot_partitions, memory_order_acquire);
    return depots != NULL ? hak_shards + partitions : 0;
}

/* The depots of the first `shards` shards have memory; false when the OS refuses. */
static bool reach(unsigned shards) {
    static hak_extent table;
    enum { MOST = HAK_SHARDS_MAX + HAK_POLICY_PARTITIONS };
    if (!hak_region_reach(&table, sizeof depots[0], MOST, shards))
        return false;
    if (depots == NULL) /* others read it */
        depots = (depot(*)[HAK_TAGS])table.start;
    return true;
}

static void begin(unsigned shard) {
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++) {
        depots[shard][cls].lock = (hak_lock)HAK_LOCK_INIT(HAK_RANK_DEPOT);
        hak_list_init(&depots[shard][cls].partial);
        depots[shard][cls].empty = 0;
    }
}

bool hak_depot_init(unsigned shards) {
    shards = (unsigned)hak_min(shards, HAK_SHARDS_MAX);
    if (!reach(shards))
        return false;
    hak_shards = shards;
    atomic_store_explicit(&hak_depot_partitions, 0, memory_order_relaxed);
    for (unsigned shard = 0; shard < hak_shards; shard++)
        begin(shard);
    return true;
}

/* release: a thread that sees the number sees initialised shards. Pairs with the acquire in shards_in_use. */
bool hak_depot_open(unsigned partitions) {
    if (!reach(hak_shards + partitions))
        return false;
    for (unsigned have = shards_in_use() - hak_shards; have < partitions; have++) {
        begin(hak_shards + have);
        atomic_store_explicit(&hak_depot_partitions, have + 1, memory_order_release);
    }
    return true;
}

/* Adds a new slab to the list. Drops the lock while it calls the superslab layer, which may call the OS. */
static bool add_slab_locked(depot *d, unsigned shard, unsigned cls) {
    hak_lock_give(&d->lock);
    hak_slab *slab = hak_superslab_take_slab(cls, shard);
    hak_lock_take(&d->lock);
    if (slab == NULL)
        return !hak_list_empty(&d->partial); /* another thread may have given one back meanwhile */
    hak_list_push(&d->partial, &slab->link);
    d->empty++;
    return true;
}

/* Takes up to `want` objects of the first slab in the list. */
static unsigned take_locked(depot *d, void **out, unsigned want, bool *zeroed) {
    hak_lock_check_held(&d->lock);
    hak_slab *slab = HAK_OWNER_OF(d->partial.next, hak_slab, link);
    if (hak_slab_is_empty(slab))
        d->empty--;
    unsigned taken = hak_slab_take_batch(slab, out, want, zeroed);
    if (slab->free == 0) {
        hak_list_remove(&slab->link);
        HAK_SHOW(slab->state, HAK_SLAB_FULL);
    }
    return taken;
}

/* The OS has refused a slab: takes objects from other shards for threads instead. */
static unsigned take_elsewhere(unsigned shard, unsigned cls, void **out, unsigned want) {
    unsigned taken = 0;
    bool zeroed;
    for (unsigned other = 0; shard < hak_shards && other < hak_shards && taken == 0; other++) {
        depot *d = &depots[other][cls];
        hak_lock_take(&d->lock);
        if (!hak_list_empty(&d->partial))
            taken = take_locked(d, out, want, &zeroed);
        hak_lock_give(&d->lock);
    }
    return taken;
}

unsigned hak_depot_take_batch(unsigned shard, unsigned cls, void **out, unsigned want) {
    depot *d = &depots[shard][cls];
    unsigned taken = 0;
    bool zeroed;
    hak_lock_take(&d->lock);
    while (taken < want) {
        if (hak_list_empty(&d->partial) && (taken != 0 || !add_slab_locked(d, shard, cls)))
            break; /* a new slab only for a thread that would go away with nothing */
        taken += take_locked(d, out + taken, want - taken, &zeroed);
    }
    hak_lock_give(&d->lock);
    return taken != 0 ? taken : take_elsewhere(shard, cls, out, want);
}

void *hak_depot_take_zeroed(unsigned shard, unsigned cls, bool *zeroed) {
    depot *d = &depots[shard][cls];
    void *obj = NULL;
    hak_lock_take(&d->lock);
    if (!hak_list_empty(&d->partial) || add_slab_locked(d, shard, cls))
        (void)take_locked(d, &obj, 1, zeroed);
    hak_lock_give(&d->lock);
    return obj;
}

/* Gives one object to its slab. *empty: a slab that the caller must give back; NULL: none. */
static hak_slab_verdict give_locked(depot *d, hak_slab *slab, void *obj, hak_slab **empty) {
    hak_lock_check_held(&d->lock);
    *empty = NULL;
    hak_slab_verdict verdict = hak_slab_give(slab, obj);
    if (HAK_UNLIKELY(verdict != HAK_SLAB_GIVEN))
        return verdict;
    if (slab->state == HAK_SLAB_FULL) {
        HAK_SHOW(slab->state, HAK_SLAB_PARTIAL);
        hak_list_push(&d->partial, &slab->link);
    }
    if (!hak_slab_is_empty(slab))
        return verdict;
    if (d->empty < EMPTY_KEPT &&
        hak_classes[slab->cls].slab_bytes <= (hak_limit_is_tight() ? EMPTY_BYTES_LIMITED : EMPTY_BYTES)) {
        d->empty++;
        return verdict;
    }
    hak_list_remove(&slab->link);
    *empty = slab;
    return verdict;
}

/* NULL: it has none. */
static hak_slab *slab_of(void *obj, unsigned cls) {
    hak_slab *slab = hak_slab_find((uintptr_t)obj, cls);
    return slab != NULL && slab->cls == cls ? slab : NULL;
}

static void give_slabs(hak_link *done) {
    while (!hak_list_empty(done)) {
        hak_slab *slab = HAK_OWNER_OF(done->next, hak_slab, link);
        hak_list_remove(&slab->link);
        hak_superslab_give_slab(slab);
    }
}

/* Gives the objects in objs[] that belong to `shard` back. Returns how many are left, at the front of objs[].
 * An object that is no slot's start, or is free already, ends the process after the lock is given back, because
 * the program's handler of SIGABRT may need it. */
static unsigned give_shard(unsigned shard, unsigned cls, void **objs, unsigned count) {
    depot *d = &depots[shard][cls];
    unsigned left = 0;
    hak_slab_verdict verdict = HAK_SLAB_GIVEN;
    void *bad = NULL;
    hak_link done; /* slabs to be given back after the lock: no system call under it */
    hak_list_init(&done);
    hak_lock_take(&d->lock);
    for (unsigned i = 0; i < count && HAK_LIKELY(verdict == HAK_SLAB_GIVEN); i++) {
        hak_slab *empty = NULL, *slab = slab_of(objs[i], cls);
        bad = objs[i];
        if (HAK_UNLIKELY(slab == NULL))
            verdict = HAK_SLAB_NONE;
        else if (slab->shard != shard)
            objs[left++] = objs[i];
        else
            verdict = give_locked(d, slab, objs[i], &empty);
        if (empty != NULL)
            hak_list_push(&done, &empty->link);
    }
    hak_lock_give(&d->lock);
    if (HAK_UNLIKELY(verdict != HAK_SLAB_GIVEN))
        hak_slab_blame(verdict, bad);
    give_slabs(&done);
    return left;
}

void hak_depot_give_batch(unsigned shard, unsigned cls, void **objs, unsigned count) {
    count = give_shard(shard, cls, objs, count);
    while (count != 0) { /* the first has a slab: else give_shard would not have come back */
        const hak_slab *slab = slab_of(objs[0], cls);
        count = give_shard(slab != NULL ? slab->shard : shard, cls, objs, count);
    }
}

/* One that is full, and its owner's lock held, gets slots where its guard was. */
static void lengthen_locked(depot *d, hak_slab *slab, uint32_t slots) {
    hak_lock_check_held(&d->lock);
    for (uint32_t slot = slab->slots; slot < slots; slot++)
        slab->free_bits[slot / 64] |= (uint64_t)1 << slot % 64;
    slab->first = (uint16_t)(slab->slots / 64);
    slab->free = slots - slab->slots;
    HAK_SHOW(slab->slots, slots);
    HAK_SHOW(slab->state, HAK_SLAB_PARTIAL);
    hak_list_push(&d->partial, &slab->link);
}

/* Read without a lock first: it may be any slab, or none. */
static bool lengthen(hak_slab *slab, unsigned cls, uint32_t slots) {
    unsigned shard = HAK_GLANCE(slab->shard);
    if (HAK_GLANCE(slab->state) != HAK_SLAB_FULL || HAK_GLANCE(slab->cls) != cls ||
        shard >= shards_in_use() || HAK_GLANCE(slab->slots) >= slots || !hak_policy_slab_open(slab))
        return false;
    depot *d = &depots[shard][cls];
    hak_lock_take(&d->lock);
    bool full = slab->state == HAK_SLAB_FULL && slab->cls == cls && slab->shard == shard &&
                slab->part_count == 0 && slab->slots < slots;
    if (full)
        lengthen_locked(d, slab, slots);
    hak_lock_give(&d->lock);
    return full;
}

/* How many slots a slab of the class has room for in the granules that have any. */
static uint32_t slots_without_guard(unsigned cls) {
    const hak_class_info *info = &hak_classes[cls];
    size_t end = hak_align_up((size_t)info->slots * info->size, HAK_GRANULE);
    uint32_t slots = (uint32_t)(end / info->size);
    return info->slots <= HAK_FEW_WORDS * 64 ? (uint32_t)hak_min(slots, HAK_FEW_WORDS * 64) : slots;
}

bool hak_depot_lengthen(unsigned cls) {
    uint32_t slots = slots_without_guard(cls);
    bool any = false;
    if (slots == hak_classes[cls].slots)
        return false;
    for (unsigned i = 0; i < atomic_load_explicit(&hak_regions_used, memory_order_acquire); i++) {
        const hak_region *region = &hak_regions[i];
        if (region->size == 0 || region->kind != HAK_REGION_SLABS)
            continue;
        size_t used = atomic_load_explicit(&region->used, memory_order_acquire);
        for (size_t at = 0; at < used; at += HAK_SUPERSLAB) {
            hak_superslab *superslab = hak_region_record(region, region->base + at);
            for (unsigned slab = 0; slab < HAK_SUPERSLAB_GRANULES; slab++)
                any |= lengthen(&superslab->slabs[slab], cls, slots);
        }
    }
    return any;
}

static void count_one(depot *d, unsigned cls, hak_depot_free *out) {
    hak_lock_take(&d->lock);
    for (const hak_link *link = d->partial.next; link != &d->partial; link = link->next) {
        const hak_slab *slab = HAK_OWNER_OF(link, hak_slab, link);
        out->slots[cls] += slab->free;
        out->empty_bytes +=
            hak_slab_is_empty(slab) ? (size_t)__builtin_popcount(hak_slab_memory(slab)) * HAK_GRANULE : 0;
    }
    hak_lock_give(&d->lock);
}

void hak_depot_count(hak_depot_free *out) {
    *out = (hak_depot_free){0};
    for (unsigned shard = 0; shard < shards_in_use(); shard++)
        for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
            count_one(&depots[shard][cls], cls, out);
}

static void trim_one(depot *d) {
    hak_link done;
    hak_list_init(&done);
    hak_lock_take(&d->lock);
    for (hak_link *link = d->partial.next, *next; link != &d->partial; link = next) {
        hak_slab *slab = HAK_OWNER_OF(link, hak_slab, link);
        next = link->next;
        if (!hak_slab_is_empty(slab))
            continue;
        d->empty--;
        hak_list_remove(&slab->link);
        hak_list_push(&done, &slab->link);
    }
    hak_lock_give(&d->lock);
    give_slabs(&done);
}

/* Which slabs are due to be purged. */
static bool is_any(const hak_slab *slab) {
    (void)slab;
    return true;
}
static bool has_more(const hak_slab *slab) {
    return slab->free > slab->purged;
}
static bool is_unused(const hak_slab *slab) {
    uint32_t unused = atomic_load_explicit(&hak_slab_time, memory_order_relaxed) - slab->taken_at;
    return unused >= PURGE_UNUSED && slab->free >= slab->purged + slab->slots / PURGE_PART + 1;
}

/* Sets the slab's free slots aside while it purges their pages without the lock, as if one thread had them all. */
static void purge_slab(depot *d, hak_slab *slab, const hak_slab_part *also) {
    hak_slab_part part;
    if (hak_slab_is_empty(slab))
        d->empty--;
    hak_slab_take_free(slab, &part);
    hak_list_remove(&slab->link);
    HAK_SHOW(slab->state, HAK_SLAB_FULL);
    hak_lock_give(&d->lock);
    hak_slab_purge_part(slab, &part, also);
    hak_lock_take(&d->lock);
    hak_slab_give_free(slab, &part);
    if (slab->state == HAK_SLAB_FULL) {
        HAK_SHOW(slab->state, HAK_SLAB_PARTIAL);
        hak_list_push_back(&d->partial, &slab->link);
    }
    if (hak_slab_is_empty(slab))
        d->empty++;
}

/* The list is turned round once: others may change it while a slab is purged. */
static void purge_one(depot *d, bool (*is_due)(const hak_slab *slab)) {
    size_t left = 0;
    hak_lock_take(&d->lock);
    for (const hak_link *link = d->partial.next; link != &d->partial; link = link->next)
        left++;
    for (; left != 0 && !hak_list_empty(&d->partial); left--) {
        hak_slab *slab = HAK_OWNER_OF(d->partial.next, hak_slab, link);
        if (is_due(slab)) {
            purge_slab(d, slab, NULL);
            continue;
        }
        hak_list_remove(&slab->link);
        hak_list_push_back(&d->partial, &slab->link);
    }
    hak_lock_give(&d->lock);
}

void hak_depot_purge(bool all) {
    for (unsigned shard = 0; shard < shards_in_use(); shard++)
        for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
            purge_one(&depots[shard][cls], all ? is_any : is_unused);
}

void hak_depot_purge_class(unsigned cls) {
    for (unsigned shard = 0; shard < shards_in_use(); shard++)
        purge_one(&depots[shard][cls], has_more);
}

/* The slab stays in its depot, because the caller has slots of it. */
void hak_depot_purge_slab(hak_slab *slab, const hak_slab_part *also) {
    depot *d = &depots[slab->shard][slab->cls];
    hak_lock_take(&d->lock);
    bool partial = slab->state == HAK_SLAB_PARTIAL;
    if (partial)
        purge_slab(d, slab, also);
    hak_lock_give(&d->lock);
    if (!partial)
        hak_slab_purge_part(slab, also, NULL);
}

/* Calls `each` for every depot of the first shards, in rank order. */
static void for_all(unsigned shards, void (*each)(depot *)) {
    for (unsigned shard = 0; shard < shards; shard++)
        for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
            each(&depots[shard][cls]);
}

static void lock_one(depot *d) {
    hak_lock_fork_take(&d->lock);
}
static void unlock_one(depot *d) {
    hak_lock_fork_give(&d->lock);
}

void hak_depot_trim(void) {
    for_all(shards_in_use(), trim_one);
}
/* A handler of the thread that forks may be the first to use a partition: its locks were not taken. */
static unsigned locked;
void hak_depot_lock_all(void) {
    locked = shards_in_use();
    for_all(locked, lock_one);
}
void hak_depot_unlock_all(void) {
    for_all(locked, unlock_one);
}
bool hak_depot_seen_free(unsigned *patience) {
    bool all = true;
    for (unsigned shard = 0; shard < shards_in_use(); shard++)
        for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
            all &= hak_lock_seen_free(&depots[shard][cls].lock, patience);
    return all;
}
void hak_depot_break_all(unsigned *patience) {
    for (unsigned shard = 0; shard < shards_in_use(); shard++)
        for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
            hak_lock_break(&depots[shard][cls].lock, patience);
}

static HAK_WALKER void check_one(depot *d) {
    uint32_t empty = 0;
    if (d->partial.next == &d->partial && d->partial.prev == &d->partial && d->empty == 0 &&
        atomic_load_explicit(&d->lock.word, memory_order_relaxed) == 0)
        return; /* as most are, after every step of a fuzzer */
    hak_lock_take(&d->lock);
    for (hak_link *link = d->partial.next; link != &d->partial; link = link->next) {
        const hak_slab *slab = HAK_OWNER_OF(link, hak_slab, link);
        HAK_CHECK(&depots[slab->shard][slab->cls] == d, "slab in the list of another depot");
        HAK_CHECK(slab->state == HAK_SLAB_PARTIAL, "slab in a depot's list is not partial");
        hak_slab_check(slab);
        empty += hak_slab_is_empty(slab);
    }
    HAK_CHECK(empty == d->empty, "count of empty slabs");
    hak_lock_give(&d->lock);
}

HAK_WALKER void hak_depot_check(void) {
    for (unsigned shard = 0; shard < shards_in_use(); shard++)
        for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
            check_one(&depots[shard][cls]);
}
