/* policy.h: every hook through which a variant shapes the core, and the one variant `#if`.
 *
 * The core calls these and never asks which variant it is; a variant's header gives the bodies, and the compiler
 * folds the empty ones away. A body whose signature drifts does not compile. .c files include this; headers
 * of the core do not. `cls` is a size class, `tag` what hak_tag_of said of the object. */
#ifndef HAK_POLICY_H
#define HAK_POLICY_H

#include "allocator/base/claim.h"
#include "allocator/pages/region.h"
#include "allocator/pages/superslab.h"

/* Start and memory. -------------------------------------------------------------------------------------- */

/* Once, after the OS layer and the options are ready, before any memory is taken. What the policy holds of a class, it
 * gives home by `give`. False: cannot start. */
static inline bool hak_policy_init(void (*give)(void *obj, unsigned cls));
/* Once, when everything that does not change any more is in place: what can be made read-only is. */
static inline void hak_policy_seal(void);
/* In a forked child, single-threaded. */
static inline void hak_policy_fork_child(void);
/* Debug builds, for reset.h: as right after hak_policy_init, except that regions still are there; then they die or,
 * with `stay`, are emptied: what the policy keeps of them is as it was when they were born, and slots read as they did.
 * What is random starts from the same seed each time, nothing is in quarantine, the calling thread keeps its cache. */
static inline void hak_policy_reset(bool stay);
/* The lock of the policy, for fork.c; NULL: it has none. */
static inline hak_lock *hak_policy_lock(void);
/* Bytes at the end of each slab that get no slot. */
static inline size_t hak_policy_slab_guard(void);
/* What the start of a region is a multiple of: a superslab (always for HAK_REGION_SLABS; huge pages fit then), or less
 * for the sake of chance: a page (HAK_REGION_LARGE), a granule (HAK_REGION_ALIGNED). */
static inline size_t hak_policy_region_align(hak_region_kind kind);
/* Which kind of region large objects at multiples of `align` are for. */
static inline hak_region_kind hak_policy_large_kind(size_t align, unsigned partition);
/* A region that may grow to `size` bytes begins, its body mapped as region->body says; is committed up to byte `end`,
 * goes. False: no memory for it. */
static inline bool hak_policy_region_born(hak_region *region, size_t size);
static inline bool hak_policy_region_commit(hak_region *region, size_t end);
static inline void hak_policy_region_dies(hak_region *region);
/* A slab gets its class (false: no memory for it), loses it. No lock is held. */
static inline bool hak_policy_slab_born(hak_slab *slab);
static inline void hak_policy_slab_dies(hak_slab *slab);
/* The slab, which may have ended meanwhile, is to have slots where its guard is: that may be touched from now on, until
 * slab_dies. No lock is held. False: it may not. */
static inline bool hak_policy_slab_open(hak_slab *slab);
/* The granules of `mask` of the superslab have lost their memory, guards included. The superslab lock is held. */
static inline void hak_policy_hollowed(uintptr_t superslab, uint32_t mask);
/* False: not now, because somebody reads free slabs. Asked when no tag leads to them any more. */
static inline bool hak_policy_may_hollow(void);

/* What hak_tag_of says, for a pointer that may be anything. */
static inline unsigned hak_policy_tag(const void *obj);

/* The typed heap. ---------------------------------------------------------------------------------------- */

/* Where objects with this token go: 1 to HAK_PARTITIONS_MAX, 0: where those without one do. */
static inline unsigned hak_policy_partition(size_t token);
/* The same for what a place of the program's asks for, which says no type. Not 0: always so; then the thread's cache
 * for what has no partition stays empty, and every call that says no type leaves the fast path. */
static inline unsigned hak_policy_partition_of_site(uintptr_t caller);
/* Of a live object, and of a slot in circulation; *cls is its class. */
static inline unsigned hak_policy_partition_of(const void *obj);
static inline unsigned hak_policy_partition_of_slot(const void *obj, unsigned *cls);

/* Objects of slabs. -------------------------------------------------------------------------------------- */

/* Bytes that a request of `size` takes, what the policy adds included (HAK_POLICY_EXTRA, up to HAK_SLAB_SIZE_MAX);
 * SIZE_MAX on overflow. */
static inline size_t hak_policy_request(size_t size);
/* Bytes of a live object that its owner may use. */
static inline size_t hak_policy_usable(const void *obj, unsigned tag, size_t capacity);
/* An object leaves the allocator, is live and resized in place, comes back. on_free may put another object of the same
 * class in *obj to recycle, or return false: nothing is to be recycled now; *tag is what hak_policy_tag says. It is
 * also called for objects that are large or not ours; those it only verifies. `caller`: which call of the program's
 * asks. Of objects of up to HAK_FINE_MAX bytes those of no bytes leave alloc.h's fast path before, with
 * HAK_POLICY_NOTHING_APART. */
static inline void *hak_policy_on_alloc(void *obj, unsigned cls, size_t size, hak_origin origin,
                                        uintptr_t caller);
static inline void hak_policy_on_resize(void *obj, unsigned cls, size_t size);
static inline bool hak_policy_on_free(void **obj, unsigned *tag, hak_claim claim);
/* The free of an object of a slab was its thread's first call, so that on_free had nowhere to keep it, and the thread
 * has begun since: as on_free. */
static inline bool hak_policy_on_first_free(void **obj, unsigned cls);
/* The object just made reads as zero: returns it. */
static inline void *hak_policy_clear(void *obj, size_t size);
/* malloc has popped an object; the bin's next one is `next`, NULL: there is none. */
static inline void hak_policy_on_next(const void *next);
/* Dies when `obj`, not NULL, is not the start of a live object. */
static inline void hak_policy_check_live(const void *obj, unsigned tag, const char *call, uintptr_t caller);
/* True when the live object is one that the policy has put where no tag is: it never grows in place. */
static inline bool hak_policy_owns(const void *obj);
/* With HAK_POLICY_RANDOM_SLOTS: which of `count` slots of a slab is taken, each in turn. */
static inline uint32_t hak_policy_slot_choice(uint32_t count);
/* From which of the places that a superslab has for it a slab is cut: 0, the first, to 31. */
static inline unsigned hak_policy_granule_choice(void);
/* A bin was refilled with these objects, where slots are not drawn at random the lowest of a slab first; malloc will
 * hand out the last one first. */
static inline void hak_policy_on_refill(void **objs, unsigned count);

/* Large objects. ----------------------------------------------------------------------------------------- */

/* Bytes of address space, at least, to keep between a large object and the next. */
static inline size_t hak_policy_large_gap(size_t size);
/* Free memory for large objects was taken away, or came back: guards in it are gone. The large lock is held. */
static inline void hak_policy_large_hollowed(hak_region *region, uintptr_t start, size_t size);
/* Bytes from the start of a live large object on that its owner or the policy touch; 0: they are at work on it, so
 * that cannot be told. The large lock is held, and settle(true) was called: from then to settle(false) who is not at
 * work on an object waits for the lock before he begins. */
static inline size_t hak_policy_large_end(const void *obj, size_t capacity);
static inline void hak_policy_large_settle(bool begins);
/* An object of the policy's own keeping that will do for `size` bytes at a multiple of `align`, with *capacity as
 * hak_large_take has it; NULL: none. */
static inline void *hak_policy_large_again(size_t size, size_t align, size_t *capacity);
/* A large object of `size` bytes with `capacity` committed ones becomes live, is resized: false when the OS refuses; is
 * freed (verified first): then it is given back when the hook says so, else the policy does that later. */
static inline bool hak_policy_on_large_alloc(void *obj, size_t size, size_t capacity, hak_origin origin);
static inline bool hak_policy_on_large_resize(void *obj, size_t size, size_t capacity);
static inline bool hak_policy_on_large_free(void *obj);
/* A live large object is about to be resized: what the policy keeps at its end goes, for that may soon be somebody
 * else's. False: it is not live. Then comes on_large_resize; or the second, when the core could not. */
static inline bool hak_policy_large_hold(void *obj);
static inline void hak_policy_large_unhold(void *obj);
/* True: what a large object that is made shorter leaves behind stays a part of its span, for the policy to shut, as
 * long as it lives. The large lock is held. */
static inline bool hak_policy_tail_stays(void);

/* Freed objects that are held back, and live ones that the policy has put where no slab is. Nobody else knows of
 * them. */
typedef struct hak_held_large {
    size_t objects, bytes; /* as hak_large_count and hak_release_large_live have them */
    size_t resident;       /* of the bytes, those that may be resident */
} hak_held_large;
typedef struct hak_held {
    size_t slots[HAK_TAGS];        /* per class */
    size_t own_objects, own_bytes; /* live ones of the policy's own; whole pages */
    hak_held_large large;
} hak_held;
/* Adds to *held, inexactly while other threads work; takes the policy's lock. The second does no more than the large
 * ones, without a lock. */
static inline void hak_policy_held(hak_held *held);
static inline void hak_policy_held_large(hak_held_large *held);

/* Threads. ----------------------------------------------------------------------------------------------- */

/* The calling thread's cache begins, ends. */
static inline void hak_policy_cache_born(void);
static inline void hak_policy_cache_dies(void);
/* At a slow call of the calling thread's, after a second or when the heap has grown: what it has not used for long is
 * to go; `sparse`: all that it has not used since the last time. */
static inline void hak_policy_cache_age(bool sparse);
/* The calling thread dies, perhaps in the middle of a call: it uses nothing any more that was its own. */
static inline void hak_policy_cache_forsaken(void);
/* The OS has refused memory: what is only good for odds may be left out from now on. */
static inline void hak_policy_scarce(void);
/* Memory has run out: gives home what the calling thread and ended threads keep back, and large objects, if a request
 * of `size` bytes may be served by that; true when it did. A request that cannot be served anyway must not empty a
 * quarantine. No lock is held. */
static inline bool hak_policy_reclaim(size_t size);
/* The program wants memory back; a second or more has passed since the last call (`now`: milliseconds). What the policy
 * keeps back and can do without goes. No lock is held. */
static inline void hak_policy_trim(void);
static inline void hak_policy_idle(uint64_t now);

#if defined(HAK_HARDENED)
#include "hardening/policy_hardened.h"
#else
#include "allocator/policy_speed.h"
#endif

#endif
