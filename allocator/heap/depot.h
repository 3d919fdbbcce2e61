/* depot.h: depots, which threads share: per shard and class, the slabs with free slots. Layer 3.
 *
 *   thread ---- cache ----> shard s ----> depot (s, class) : lock, partial slabs
 *   thread ---- cache --/
 *
 * A thread refills its bins from the depots of one shard. In the speed variant, it takes slots of 256 bytes or
 * more from a shard that it shares with others. There are twice as many shards as processors, so that a lock is
 * seldom contended. A slab stays with its shard for life. An object that another thread has freed goes home in
 * a batch, under one lock of its own shard: a remote free costs no atomic operation of its own
 * (docs/decisions/002).
 *
 * A partition of the typed heap is a shard of its own, for all threads (docs/decisions/037). */
#ifndef HAK_DEPOT_H
#define HAK_DEPOT_H

#include "allocator/heap/slab.h"

/* Begins with 1 to HAK_SHARDS_MAX shards for threads (hak_shards), and none for partitions. False: the OS has
 * no memory for them, and nothing has changed. */
bool hak_depot_init(unsigned shards);

/* The number of partitions with a shard, which are numbered from 1 on. */
extern _Atomic unsigned hak_depot_partitions;

/* From now on at least `partitions` partitions have a shard. False: the OS has no memory for them. The caller
 * holds a lock that a fork takes before those of the depots. */
bool hak_depot_open(unsigned partitions);

/* Stores up to `want` objects of `cls` in out[]. Returns their number: at least 1; 0: the OS has no memory. */
unsigned hak_depot_take_batch(unsigned shard, unsigned cls, void **out, unsigned want);

/* Takes one object; NULL: the OS has no memory. *zeroed: the object is known to read as zero. */
void *hak_depot_take_zeroed(unsigned shard, unsigned cls, bool *zeroed);

/* Gives `count` objects of `cls` back to their slabs, of any shard. Reorders objs[]. */
void hak_depot_give_batch(unsigned shard, unsigned cls, void **objs, unsigned count);

/* Makes slots out of the guards of full slabs of the class, for when nothing else helps. A slab loses them
 * again with its last object. True when some slab got slots. */
bool hak_depot_lengthen(unsigned cls);

/* Gives empty slabs that depots keep for reuse to their superslabs. */
void hak_depot_trim(void);

/* Purges pages between objects in use where all slots are free. `all`: of every slab; else only of slabs from
 * which no slot was taken for a while, and in which many have become free. */
void hak_depot_purge(bool all);
/* The same for each slab of the class in which slots have become free since it was last purged. */
void hak_depot_purge_class(unsigned cls);
/* Purges the slab's pages where nothing lies but free slots and those that are `also`. The caller has the latter. */
void hak_depot_purge_slab(hak_slab *slab, const hak_slab_part *also);

/* Contents of depots: free slots per class, and bytes of slabs with all slots free. */
typedef struct hak_depot_free {
    size_t slots[HAK_TAGS], empty_bytes;
} hak_depot_free;

/* Counts these. Takes each lock once. */
void hak_depot_count(hak_depot_free *out);

/* False: this thread, interrupted by a signal, may hold one of the locks; see hak_lock_seen_free. */
bool hak_depot_seen_free(unsigned *patience);

/* For fork.c: takes and gives all depot locks, in order. */
void hak_depot_lock_all(void);
void hak_depot_unlock_all(void);
/* For dying.c. */
void hak_depot_break_all(unsigned *patience);

/* Dies when a slab is in a wrong list. Takes the locks. For tests. */
void hak_depot_check(void);

#endif
