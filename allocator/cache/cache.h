/* cache.h: a thread's own objects, ready to be handed out. Layer 4. Hot: malloc and free are a pop and a push
 * here.
 *
 *   hak_cache_mine --> | fine | top 0 | top 1 | ... | end 0 | end 1 | ... | entries ...                         |
 *                                      |                                  NULL obj obj obj  -   -  NULL obj ..
 *                                      +----------------------------------------------^        ^
 *                                                               end 1 (so far; grows with use) -+
 *
 * A bin is a stack of pointers; there is one per tag. A NULL lies below its first entry, so a pop of an empty
 * bin reads NULL. A bin is full when `top == end`. Bins of tags that are no class are always empty and full at
 * once. So are all bins of the static caches, which a thread has before its first call and after its last one:
 * these calls reach the slow path without a test of their own. (jemalloc's cache_bin.h also has stacks of
 * pointers.) Tops and ends are arrays of their own, because indexing an array of words is free on x86-64. The
 * table of small sizes lies in the cache because the fast path has the cache's address in a register anyway.
 *
 * A bin has no room before its first use. Afterwards its room depends on what its class, its thread and all
 * threads together may hold. At slow calls, after a while or when the heap has grown, bins whose tops have not
 * moved lose half of their room, so that a thread holds what it uses (docs/decisions/029).
 *
 * A cache belongs to one thread and has no lock. Other threads may recall the objects of a thread that sleeps, all
 * but the topmost of each bin: see cache_recall.c. Objects of a partition of the typed heap lie in a cache of
 * their own, which a thread gets when it first uses the partition; other threads pay nothing for that. */
#ifndef HAK_CACHE_H
#define HAK_CACHE_H

#include "allocator/heap/depot.h"

/* A thread's state for the heap profile: ration.h. */
enum { HAK_RATION_MOST = 32 };
typedef struct hak_rations {
    uint64_t random;
    uint32_t left[HAK_TAGS]; /* per class: allocations until one is sampled, that one included */
    bool busy;
    uint8_t most[HAK_TAGS];                       /* per class: objects that the ration has room for */
    void *entries[HAK_TAGS][1 + HAK_RATION_MOST]; /* per class, above a NULL */
} hak_rations;

typedef struct hak_cache {
    /* As hak_class_fine, or the rations of these classes; all 0 in the static caches, which have no object */
    uint8_t fine[HAK_FINE_MAX + 1];
    /* Points to the entry of the object that was freed last, or to the NULL below the first entry.
     * hak_cache_count reads it by HAK_GLANCE. The tops of the rations follow those of the tags: with the heap
     * profile on, malloc pops from rations. */
    void **top[HAK_BINS];
    void **end[HAK_TAGS];    /* the last entry that may be used now */
    struct hak_cache *next;  /* while the cache waits for a new thread */
    struct hak_cache *older; /* in the list of all caches */
    unsigned shard;          /* shard of its depots; for wide slots see shard_for in cache.c */
    unsigned age, trim;    /* number of calls of hak_cache_age and hak_cache_trim when the cache aged last */
    unsigned splits;       /* hak_class_splits at that time: which classes `fine` has */
    hak_rations *rations;  /* NULL: no heap profile */
    size_t room;           /* bytes that its bins may hold now */
    void **seen[HAK_TAGS]; /* the tops when it aged last */
    unsigned survived;     /* number of the last fork that its thread survived; counted in cache.c */
    unsigned partition;    /* partition of its objects; 0: none */
    /* For cache_recall.c. `busy`: its owner changes bins otherwise than by a pop or a push. `gone`: so many entries at
     * the bottom of the bin were recalled. `lent`: this part of `room` does not count in hak_cache_room. */
    _Atomic unsigned char busy, recall;
    unsigned char gone[HAK_TAGS];
    unsigned age_seen;
    size_t lent;
    struct hak_cache *parts; /* the thread's caches of partitions; list begins in the cache of partition 0 */
    struct hak_cache *part[HAK_PARTITIONS_MAX + 1]; /* the same caches by partition; NULL: none yet */
    void *entries[];
} hak_cache;

/* The calling thread's cache; never NULL. */
extern HAK_HIDDEN _Thread_local hak_cache *hak_cache_mine;

/* Number of caches in use; number of objects that moved between depots and caches; per class, the objects that
 * went to caches and have not come back. */
extern _Atomic size_t hak_caches_live, hak_cache_operations, hak_cache_out[HAK_TAGS];

/* Bytes that the bins of all threads may hold now. */
extern _Atomic size_t hak_cache_room;

/* Tells every thread to shrink its unused bins at its next slow call. idle.c calls it periodically. */
void hak_cache_age(void);

/* True when many slabs stay for a few objects each, perhaps objects in caches and quarantines. */
bool hak_cache_sparse(void);

/* The sum of hak_cache_out over all classes. */
size_t hak_cache_objects(void);

/* Adds the number of objects in all bins, per class. Inexact while other threads run. Takes hak_cache_lock. */
void hak_cache_count(size_t objects[HAK_TAGS]);

/* ThreadSanitizer does not know that hak_os_barrier orders what the other threads did. */
#define HAK_ENTRY_ORDER (HAK_TSAN ? __ATOMIC_RELEASE : __ATOMIC_RELAXED)

/* Pops the newest object of the bin; NULL when the bin is empty. */
HAK_INLINE void *hak_cache_pop(hak_cache *cache, unsigned tag) {
    void **top = cache->top[tag];
    void *obj = HAK_GLANCE(*top);
    if (HAK_LIKELY(obj != NULL))
        HAK_SHOW(cache->top[tag], top - 1);
    return obj;
}

/* Pushes an object onto the bin; false when the bin is full. */
HAK_INLINE bool hak_cache_push(hak_cache *cache, void *obj, unsigned tag) {
    void **top = cache->top[tag];
    if (HAK_UNLIKELY(top == cache->end[tag]))
        return false;
    __atomic_store_n(top + 1, obj, HAK_ENTRY_ORDER);
    HAK_SHOW(cache->top[tag], top + 1);
    return true;
}

/* The address of the NULL below the bin's first entry. */
HAK_INLINE void **hak_cache_base(hak_cache *cache, unsigned cls) {
    return &cache->entries[hak_classes[cls].bin_start - 1];
}

/* Refills the empty bin from the depots and pops an object; NULL when the OS has no memory. A thread without a
 * cache of its own takes its object straight from a depot. */
void *hak_cache_refill_slow(unsigned cls);

/* Takes an object for calloc: the bin's newest, or one from the depots. *zeroed: the object is known to read as
 * zero. NULL: no memory. */
void *hak_cache_take_zeroed(unsigned cls, bool *zeroed);

/* Flushes a part of the full bin and pushes the object, which is of the class. */
void hak_cache_flush_slow(void *obj, unsigned cls);

/* Gives an object to its depot without a cache. */
void hak_cache_give_one(void *obj, unsigned cls);

/* The calling thread's cache for the partition, which is not 0; NULL: the thread has none yet. */
HAK_INLINE hak_cache *hak_cache_of(unsigned partition) {
    return hak_cache_mine->part[partition];
}

/* As hak_cache_refill_slow, and as hak_cache_push with hak_cache_flush_slow, for objects of the partition. */
void *hak_cache_refill_typed(unsigned partition, unsigned cls);
void hak_cache_give_typed(unsigned partition, void *obj, unsigned cls);

/* Number of objects in the bins of the calling thread. */
size_t hak_cache_held(void);

/* Empties all bins of the calling thread into the depots. */
void hak_cache_flush_all(void);

/* Empties the calling thread's bins now, and other threads' bins at their next slow call; recalls what it can before
 * that. Releases the memory of caches that wait for a thread. */
void hak_cache_trim(void);

/* Gives objects in other threads' bins back to the depots: all but the topmost of each bin. `all`: of every thread;
 * otherwise of those that made no slow call since the previous call. Returns the number of objects; 0 as well when
 * the OS cannot do it (hak_os_barrier), and while another thread recalls. No lock is held. */
size_t hak_cache_recall(bool all);

/* True when the calling thread has a cache. */
bool hak_cache_begun(void);

/* Gives the calling thread a cache; thread.h calls it. True: it has one. False: it has ended its cache already,
 * or there is no memory for one. */
bool hak_cache_begin(void);

/* Ends the calling thread's cache for good. Objects that the thread frees later go to the depots. */
void hak_cache_end(void);

/* For dying.c and shim_early.c: the same without a flush; the objects in the cache are lost. */
void hak_cache_forsake(void);

/* Debug builds only, for reset.h: leaves one cache, the calling thread's, new and empty. */
void hak_cache_reset(void);

/* For init.c: caches get rations from now on. No cache exists yet. */
void hak_cache_profile(void);

/* For fork.c. */
extern hak_lock hak_cache_lock;

/* In the child of a fork, and for reset.h: only the calling thread is left. Objects in the caches of other
 * threads are lost, because the kernel copied their bins page by page while those threads ran. The caches
 * themselves go to new threads. */
void hak_cache_alone(void);

/* Dies when a bin of the calling thread's cache is inconsistent. For tests. */
void hak_cache_check(void);

/* As hak_cache_check, for one bin. Checks only the objects above `from`; NULL: all. */
void hak_cache_check_bin(unsigned tag, void **from);

#endif
