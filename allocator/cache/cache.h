/* cache.h: a thread's own objects, ready to be handed out. Layer 4. Hot: malloc and free are a pop and a push here.
 *
 *   hak_cache_mine --> | fine | top 0 | top 1 | ... | end 0 | end 1 | ... | entries ...                         |
 *                                      |                                  NULL obj obj obj  -   -  NULL obj ..
 *                                      +----------------------------------------------^        ^
 *                                                               end 1 (so far; grows with use) -+
 *
 * A bin is a stack of pointers, one per tag. Below its first entry lies a NULL, so that a pop of an empty bin reads
 * NULL; `top == end` says that it is full. Bins of tags that are no class are always empty and full at once. So is
 * every bin of the static caches that a thread has before its first call and after its last, and the first call of
 * either kind lands in the slow path without a question of its own (jemalloc cache_bin.h has stacks of pointers as
 * well). Tops and ends are arrays of their own because an index into an array of words is free on x86-64; the classes
 * of the small sizes are in the cache because they are then reached by the pointer that is at hand anyway.
 *
 * A bin has no room before its first use, and then as much as its class, its thread and all threads together may have.
 * At slow calls, after a while or when the heap has grown, bins whose tops have not moved lose half of their room, so
 * that what a thread holds follows what it does (docs/decisions/029).
 *
 * A cache belongs to one thread and has no lock. What partitions of the typed heap have lies in caches of their own,
 * which a thread gets when it first uses the partition; who does not pays nothing for that. */
#ifndef HAK_CACHE_H
#define HAK_CACHE_H

#include "allocator/heap/depot.h"

/* What a thread has for the heap profile: ration.h. */
enum { HAK_RATION_MOST = 32 };
typedef struct hak_rations {
    uint64_t random;
    uint32_t left[HAK_TAGS]; /* per class: allocations until one is sampled, that one included */
    bool busy;
    uint8_t most[HAK_TAGS];                       /* per class: objects that it has room for */
    void *entries[HAK_TAGS][1 + HAK_RATION_MOST]; /* per class, above a NULL */
} hak_rations;

typedef struct hak_cache {
    /* As hak_class_fine, or the rations of these classes; all 0 in the static caches. */
    uint8_t fine[HAK_FINE_MAX + 1];
    /* The object that was freed last, or the NULL below the first entry; hak_cache_count glances at it. Behind the tags
     * those of the rations: with the heap profile, what malloc pops from. */
    void **top[HAK_BINS];
    void **end[HAK_TAGS];    /* the last entry that may be used for now */
    struct hak_cache *next;  /* while it waits for a new thread */
    struct hak_cache *older; /* in the list of all */
    unsigned shard;          /* of its depots; for wide slots see shard_for in cache.c */
    unsigned age, trim;      /* how often hak_cache_age and hak_cache_trim were called when it aged last */
    unsigned splits;         /* hak_class_splits then: what the small sizes' classes are */
    hak_rations *rations;    /* NULL: there is no profile */
    size_t room;             /* bytes that its bins may hold for now */
    void **seen[HAK_TAGS];   /* the tops at its last ageing */
    unsigned survived;       /* the last fork that its thread came out of, by a count of cache.c's */
    unsigned partition;      /* whose objects it has; 0: those of none */
    struct hak_cache *parts; /* one that has none: the thread's others, linked by this */
    struct hak_cache *part[HAK_PARTITIONS_MAX + 1]; /* and the same by partition; NULL: not yet */
    void *entries[];
} hak_cache;

/* The calling thread's cache: never NULL. */
extern HAK_HIDDEN _Thread_local hak_cache *hak_cache_mine;

/* Caches in use; objects that were moved between depots and caches; and, per class, those that went to caches and have
 * not come back. */
extern _Atomic size_t hak_caches_live, hak_cache_operations, hak_cache_out[HAK_TAGS];

/* Bytes that the bins of all threads may hold for now. */
extern _Atomic size_t hak_cache_room;

/* Bins that were not used meanwhile become shorter at their thread's next slow call, in every thread. idle.c calls it
 * by the clock. */
void hak_cache_age(void);

/* Many slabs are there for a few objects of theirs, those in caches and quarantines perhaps. */
bool hak_cache_sparse(void);

/* hak_cache_out of all classes together. */
size_t hak_cache_objects(void);

/* Adds what the bins of all caches hold, per class. Threads that work meanwhile make it inexact. Takes
 * hak_cache_lock. */
void hak_cache_count(size_t objects[HAK_TAGS]);

/* The newest object of the bin; NULL when it is empty. */
HAK_INLINE void *hak_cache_pop(hak_cache *cache, unsigned tag) {
    void **top = cache->top[tag];
    void *obj = *top;
    if (HAK_LIKELY(obj != NULL))
        HAK_SHOW(cache->top[tag], top - 1);
    return obj;
}

/* Puts an object into the bin; false when it is full. */
HAK_INLINE bool hak_cache_push(hak_cache *cache, void *obj, unsigned tag) {
    void **top = cache->top[tag];
    if (HAK_UNLIKELY(top == cache->end[tag]))
        return false;
    top[1] = obj;
    HAK_SHOW(cache->top[tag], top + 1);
    return true;
}

/* The NULL below the bin's first entry. */
HAK_INLINE void **hak_cache_base(hak_cache *cache, unsigned cls) {
    return &cache->entries[hak_classes[cls].bin_start - 1];
}

/* Refills the empty bin from the depots and takes an object from it; NULL when the OS has no memory. A thread
 * without a cache of its own gets its object straight from a depot. */
void *hak_cache_refill_slow(unsigned cls);

/* An object for calloc: the bin's newest, or one from the depots. *zeroed: it is known to read as zero. NULL: no
 * memory. */
void *hak_cache_take_zeroed(unsigned cls, bool *zeroed);

/* Makes room in the full bin and puts the object, one of the class, into it. */
void hak_cache_flush_slow(void *obj, unsigned cls);

/* An object comes home without a cache. */
void hak_cache_give_one(void *obj, unsigned cls);

/* The calling thread's cache for the partition, which is not 0; NULL: it has none (yet). */
HAK_INLINE hak_cache *hak_cache_of(unsigned partition) {
    return hak_cache_mine->part[partition];
}

/* As hak_cache_refill_slow and as hak_cache_push or hak_cache_flush_slow, for objects of the partition. */
void *hak_cache_refill_typed(unsigned partition, unsigned cls);
void hak_cache_give_typed(unsigned partition, void *obj, unsigned cls);

/* Objects in the bins of the calling thread. */
size_t hak_cache_held(void);

/* Empties all bins of the calling thread into the depots. */
void hak_cache_flush_all(void);

/* The calling thread's bins are emptied now, other threads' at their next slow call; of caches that wait for a thread
 * nothing stays resident. */
void hak_cache_trim(void);

/* True when the calling thread has a cache. */
bool hak_cache_begun(void);

/* Gives the calling thread a cache (thread.h calls it); true when it has one. False: it has ended its own already, or
 * there is no memory for one. */
bool hak_cache_begin(void);

/* Takes the cache from the calling thread, for good; what it frees from now on goes to the depots. */
void hak_cache_end(void);

/* For dying.c and shim_early.c: the same at once, and what it holds is lost. */
void hak_cache_forsake(void);

/* Debug builds, for reset.h: the calling thread's cache is new and empty, and there is no other. */
void hak_cache_reset(void);

/* For init.c: caches have rations from now on. There is none yet. */
void hak_cache_profile(void);

/* For fork.c. */
extern hak_lock hak_cache_lock;

/* In the child of a fork, and for reset.h: no thread but the calling one has a cache. What the others' held is lost,
 * for the kernel has copied their bins page by page while they were at work; the caches themselves go to new
 * threads. */
void hak_cache_alone(void);

/* Dies when the bins of the calling thread's cache are not what they must be. For tests. */
void hak_cache_check(void);

/* As hak_cache_check, of one bin; of its objects only those above `from`, NULL: all. */
void hak_cache_check_bin(unsigned tag, void **from);

#endif
