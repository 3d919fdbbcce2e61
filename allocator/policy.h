/* policy.h: every hook through which a variant shapes the core, and the one variant `#if`.
 *
 * The core calls the hooks and never asks which variant it is. One header per variant defines them, and the
 * compiler removes the empty ones. A definition whose signature differs from the declaration here does not
 * compile. The .c files of the core include this file; its headers do not. `cls` is a size class, `tag` a
 * result of hak_tag_of. */
#ifndef HAK_POLICY_H
#define HAK_POLICY_H

#include "allocator/base/claim.h"
#include "allocator/pages/region.h"
#include "allocator/pages/superslab.h"

/* Start and memory. -------------------------------------------------------------------------------------- */

/* Called once, after the OS layer and the options are ready and before any memory is taken. The policy gives
 * objects that it kept back to the core through `give`. False: the process cannot start. */
static inline bool hak_policy_init(void (*give)(void *obj, unsigned cls));
/* Called once, when all data that stays constant is in place. The policy makes it read-only where it can. */
static inline void hak_policy_seal(void);
/* Called in a forked child, which has one thread. */
static inline void hak_policy_fork_child(void);
/* Debug builds only, for reset.h: puts the policy back to its state right after hak_policy_init. Regions still
 * exist at this point. Without `stay` they die next. With `stay` they are emptied: their records are as at
 * birth, and their slots read as they did then. Random numbers start from the same seed each time, the
 * quarantine is empty, and the calling thread keeps its cache. */
static inline void hak_policy_reset(bool stay);
/* The policy's locks in rank order, which is the last, for fork.c: lock number i from 0; NULL after the last one. */
static inline hak_lock *hak_policy_lock(unsigned i);
/* Bytes at the end of each slab that hold no slot. */
static inline size_t hak_policy_slab_guard(void);
/* The alignment of a region's start. HAK_REGION_SLABS: always a superslab, so huge pages fit. To make addresses
 * random, a policy may choose less for the others: a page (HAK_REGION_LARGE), a granule (HAK_REGION_ALIGNED). */
static inline size_t hak_policy_region_align(hak_region_kind kind);
/* The kind of region that holds large objects of this alignment and partition. */
static inline hak_region_kind hak_policy_large_kind(size_t align, unsigned partition);
/* Memory of a region's body was mapped. Its tables may not be there yet. */
static inline void hak_policy_mapped(hak_region_kind kind, uintptr_t addr, size_t size);
/* A region is born, is committed up to byte `end`, dies. At birth it may grow to `size` bytes, and region->body
 * says what is mapped. False: no memory for the policy's records. */
static inline bool hak_policy_region_born(hak_region *region, size_t size);
static inline bool hak_policy_region_commit(hak_region *region, size_t end);
static inline void hak_policy_region_dies(hak_region *region);
/* A slab gets its class (false: no memory for that); a slab loses its class. No lock is held. */
static inline bool hak_policy_slab_born(hak_slab *slab);
static inline void hak_policy_slab_dies(hak_slab *slab);
/* The core wants to put slots where the slab's guard is. True: the memory of the guard may be touched until
 * slab_dies. False: it stays a guard. The slab may have died meanwhile. No lock is held. */
static inline bool hak_policy_slab_open(hak_slab *slab);
/* The pages of a free slab, which keeps its class, were given back; its addresses and guards stay. The superslab lock
 * is held. */
static inline void hak_policy_slab_purged(const hak_slab *slab);
/* The granules of `mask` in the superslab have been decommitted, guards included. The superslab lock is held. */
static inline void hak_policy_hollowed(uintptr_t superslab, uint32_t mask);
/* False: free slabs must keep their pages now, because a thread is reading them. Called when no tag leads to
 * them. */
static inline bool hak_policy_may_hollow(void);

/* As hak_tag_of, for a pointer that may have any value. */
static inline unsigned hak_policy_tag(const void *obj);

/* The typed heap. ---------------------------------------------------------------------------------------- */

/* The partition of a token: 1 to HAK_PARTITIONS_MAX, or 0 for objects without a type. */
static inline unsigned hak_policy_partition(size_t token);
/* The partition of an untyped allocation, by its call site. A policy returns 0 always or never. If never, the
 * bins for partition 0 stay empty, so every untyped call leaves the fast path. */
static inline unsigned hak_policy_partition_of_site(uintptr_t caller);
/* The partition of a live object, and of a slot that a cache or a depot may hold. Stores the slot's class in
 * *cls. */
static inline unsigned hak_policy_partition_of(const void *obj);
static inline unsigned hak_policy_partition_of_slot(const void *obj, unsigned *cls);

/* Objects of slabs. -------------------------------------------------------------------------------------- */

/* Bytes that a request of `size` needs, HAK_POLICY_EXTRA included for sizes up to HAK_SLAB_SIZE_MAX. SIZE_MAX
 * on overflow. */
static inline size_t hak_policy_request(size_t size);
/* Bytes of a live object that the program may use. */
static inline size_t hak_policy_usable(const void *obj, unsigned tag, size_t capacity);
/* An object is allocated, is resized in place, is freed. `caller` is the program's call site.
 *
 * on_free stores the object's tag (as hak_policy_tag) in *tag. It may replace *obj by another object of the
 * same class, which the core then recycles; false means that there is nothing to recycle now. It is also called
 * for objects that are large or not ours, and only verifies those. With HAK_POLICY_NOTHING_APART, on_alloc is
 * never called from the fast path of alloc.h for a size of 0. */
static inline void *hak_policy_on_alloc(void *obj, unsigned cls, size_t size, hak_origin origin,
                                        uintptr_t caller);
static inline void hak_policy_on_resize(void *obj, unsigned cls, size_t size);
static inline bool hak_policy_on_free(void **obj, unsigned *tag, hak_claim claim);
/* As on_free, for a small object whose free was its thread's first call: on_free had nowhere to keep it, and
 * the core has begun the thread since. */
static inline bool hak_policy_on_first_free(void **obj, unsigned cls);
/* Makes a new object read as zero and returns it. */
static inline void *hak_policy_clear(void *obj, size_t size);
/* malloc has popped an object. `next` is the bin's next object; NULL: the bin is empty. */
static inline void hak_policy_on_next(const void *next);
/* Dies when `obj`, not NULL, is not the start of a live object. */
static inline void hak_policy_check_live(const void *obj, unsigned tag, const char *call, uintptr_t caller);
/* True when the policy itself holds the live object, at an address without a tag. Such an object never grows in
 * place. */
static inline bool hak_policy_owns(const void *obj);
/* With HAK_POLICY_RANDOM_SLOTS: which of `count` free slots the core takes next. Called once per slot. */
static inline uint32_t hak_policy_slot_choice(uint32_t count);
/* Which of the superslab's free places a new slab gets: 0, the first, to 31. */
static inline unsigned hak_policy_granule_choice(void);
/* A bin was refilled with these objects. Without HAK_POLICY_RANDOM_SLOTS they are in the order of addresses.
 * malloc hands out the last one first. */
static inline void hak_policy_on_refill(void **objs, unsigned count);

/* Large objects. ----------------------------------------------------------------------------------------- */

/* The least gap between a large object and the next, in bytes of address space. */
static inline size_t hak_policy_large_gap(size_t size);
/* Free memory of large objects was decommitted or committed again, so guards in it are gone. The large lock is
 * held. */
static inline void hak_policy_large_hollowed(hak_region *region, uintptr_t start, size_t size);
/* Bytes at the start of a live large object that the program or the policy uses. 0: unknown, because a thread
 * is at work on the object. The large lock is held. The core calls settle(true) first and settle(false) last;
 * in between, a thread that wants to start work on an object waits for the lock. */
static inline size_t hak_policy_large_end(const void *obj, size_t capacity);
static inline void hak_policy_large_settle(bool begins);
/* A large object is allocated, is resized, is freed. `size` is in bytes, `capacity` in committed bytes. False
 * from on_large_alloc and on_large_resize: the OS refused. on_large_free verifies the object first. True: the
 * core gives the object back. False: the policy keeps it and gives it back later. */
static inline bool hak_policy_on_large_alloc(void *obj, size_t size, size_t capacity, hak_origin origin);
static inline bool hak_policy_on_large_resize(void *obj, size_t size, size_t capacity);
static inline bool hak_policy_on_large_free(void *obj);
/* A large object is about to be resized. The policy removes what it keeps behind the object's end, because
 * another object may soon lie there. False: the object is not live. on_large_resize follows, or large_unhold
 * when the core could not resize it. */
static inline bool hak_policy_large_hold(void *obj);
static inline void hak_policy_large_unhold(void *obj);
/* True: so many bytes of freed large memory are unmapped, not purged, when they go back to the OS. */
static inline bool hak_policy_unmaps(size_t bytes);
/* True: when a large object shrinks, the freed tail stays a part of its span while the object lives, so the
 * policy can protect it. The large lock is held. */
static inline bool hak_policy_tail_stays(void);

/* Freed objects that the policy holds back, and live objects that it holds outside slabs. Only the policy knows
 * them. */
typedef struct hak_held_large {
    size_t objects, bytes; /* counted as in hak_large_count and hak_release_large_live */
} hak_held_large;
typedef struct hak_held {
    size_t slots[HAK_TAGS];        /* per class */
    size_t own_objects, own_bytes; /* live objects outside slabs; whole pages */
    hak_held_large large;
} hak_held;
/* hak_policy_held adds to *held and takes the policy's lock. hak_policy_held_large adds only the large objects,
 * without a lock. Both are inexact while other threads run. */
static inline void hak_policy_held(hak_held *held);
static inline void hak_policy_held_large(hak_held_large *held);

/* Threads. ----------------------------------------------------------------------------------------------- */

/* The calling thread's cache is born, dies. */
static inline void hak_policy_cache_born(void);
static inline void hak_policy_cache_dies(void);
/* Called on a slow path of the calling thread, after a second or when the heap has grown. The policy gives up
 * what the thread has not used for long; with `sparse`, all that it has not used since the last call. */
static inline void hak_policy_cache_age(bool sparse);
/* The calling thread dies, perhaps in the middle of a call. It will not use its state again. */
static inline void hak_policy_cache_forsaken(void);
/* The OS has refused memory. From now on the policy may skip protection that needs memory and works only by
 * chance. */
static inline void hak_policy_scarce(void);
/* A limit counts what the process has mapped, and is new (mapped_limit.h): free memory that the policy holds
 * back must not keep much mapped. No lock is held. */
static inline void hak_policy_limited(void);
/* Memory has run out. If that may help a request of `size` bytes, gives back the objects that the calling
 * thread, ended threads and the store of large objects hold back, and returns true. A request that cannot
 * succeed must not empty a quarantine. No lock is held. */
static inline bool hak_policy_reclaim(size_t size);
/* hak_policy_trim: the program asked to release memory. hak_policy_idle: a second or more has passed since the
 * last call (`now` in milliseconds). The policy gives back kept memory that it can do without. No lock is held. */
static inline void hak_policy_trim(void);
static inline void hak_policy_idle(uint64_t now);

#if defined(HAK_HARDENED)
#include "hardening/policy_hardened.h"
#else
#include "allocator/policy_speed.h"
#endif

#endif
