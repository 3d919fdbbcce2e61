/* typed.h: the typed heap: each slot, and each range of addresses for large objects, belongs to one partition
 * as long as the process lives.
 *
 *   token of the type --secret hash--> partition --> its shard's depots --> slabs that stay with class and partition
 *
 * Partitions are 1 to hak_hardening.partitions. The first hak_hardening.partitions_of_data are for types
 * without pointers, the others for types with pointers; 0 is for untyped objects. The slab's entry in the
 * ledger names the partition, and the record of a live object says that it has one. So its free leaves the fast
 * path for hak_typed_free, and untyped objects pay nothing. A thread has one cache of the core for each
 * partition that it uses, and one quarantine for all of them; an object that leaves it goes to the cache of its
 * own partition. docs/decisions/037. */
#ifndef HAK_TYPED_H
#define HAK_TYPED_H

#include "hardening/quarantine.h"

/* Called after hak_modes_init. */
void hak_typed_init(void);

/* A secret hash. Which tokens share a partition does not reveal the keys. */
HAK_INLINE uint64_t hak_typed_hash(uint64_t what) {
    for (int i = 0; i < 2; i++) {
        unsigned __int128 product =
            (unsigned __int128)(what ^ hak_hardening.partition_keys[1 - i]) * hak_hardening.partition_keys[i];
        what = (uint64_t)(product >> 64) ^ (uint64_t)product;
    }
    return what;
}

/* The partition of the token. Tokens below 2^32 come from a program that limits their number: which of them
 * mean pointers is not known, so all count as types with pointers. */
HAK_INLINE unsigned hak_typed_partition(uint64_t token) {
    unsigned first = 1, count = hak_hardening.partitions, data = hak_hardening.partitions_of_data;
    if (token == 0 || count == 0)
        return 0;
    bool has_pointers = token >> 63 != 0 || token >> 32 == 0;
    first = has_pointers ? 1 + data : 1;
    count = has_pointers ? count - data : data;
    return first + (unsigned)((hak_typed_hash(token) >> 32) * count >> 32);
}

/* The partition of an untyped call site; 0 unless HAKMEM_PARTITIONS asks for such partitions. */
HAK_INLINE unsigned hak_typed_partition_of_site(uintptr_t caller) {
    if (!hak_hardening.partitions_by_site)
        return 0;
    return 1 + (unsigned)((hak_typed_hash(caller) >> 32) * hak_hardening.partitions >> 32);
}

/* The partition of a live object of any kind; 0: none. */
unsigned hak_typed_partition_of(const void *obj);
/* The partition of the slot at `obj`; stores its class in *cls. */
unsigned hak_typed_partition_of_slot(const void *obj, unsigned *cls);

/* As hak_hardening.end, for an object of a partition. */
void *hak_typed_end(void *obj, const hak_granule *granule, hak_record *record, uint32_t word,
                    const char *call);

/* As hak_quarantine_first, for an object of a partition. */
void *hak_typed_first(void *obj);

/* Ends the calling thread's quarantine for partitions, when the thread ends. Called before hak_quarantine_end. */
void hak_typed_thread_ends(void);
/* Calls `does` with that quarantine in the place of the thread's own one. Does nothing when the thread has
 * none. */
void hak_typed_swapped(void (*does)(void));
void hak_typed_fork_child(void);

#endif
