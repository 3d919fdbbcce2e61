/* typed.h: the typed heap: a slot, and a range of addresses for large objects, is of one partition as long as the
 * process lives.
 *
 *   token of the type --secret hash--> partition --> its shard's depots --> slabs that stay with class and partition
 *
 * Partitions 1 to hak_hardening.partitions: the first hak_hardening.partitions_of_data for types without pointers, the
 * others for types with pointers; 0 for what says no type. The slab's entry in the ledger says which it is, and the
 * record of a live object that it is of one: so free leaves the fast path for hak_typed_free, and what has no partition
 * pays nothing. Each thread has caches of the core's for each partition it uses, and one quarantine for all of them:
 * what leaves it goes to the cache of its own partition. docs/decisions/037. */
#ifndef HAK_TYPED_H
#define HAK_TYPED_H

#include "hardening/quarantine.h"

/* After hak_modes_init. */
void hak_typed_init(void);

/* One secret number for each; no key is guessed from which tokens share a partition. */
HAK_INLINE uint64_t hak_typed_hash(uint64_t what) {
    for (int i = 0; i < 2; i++) {
        unsigned __int128 product =
            (unsigned __int128)(what ^ hak_hardening.partition_keys[1 - i]) * hak_hardening.partition_keys[i];
        what = (uint64_t)(product >> 64) ^ (uint64_t)product;
    }
    return what;
}

/* The partition of the token. Tokens of less than 2^32 are those of a program that limits their number: which half of
 * them is for pointers is not known, so they are all taken for such. */
HAK_INLINE unsigned hak_typed_partition(uint64_t token) {
    unsigned first = 1, count = hak_hardening.partitions, data = hak_hardening.partitions_of_data;
    if (token == 0 || count == 0)
        return 0;
    bool has_pointers = token >> 63 != 0 || token >> 32 == 0;
    first = has_pointers ? 1 + data : 1;
    count = has_pointers ? count - data : data;
    return first + (unsigned)((hak_typed_hash(token) >> 32) * count >> 32);
}

/* Of a place of the program's that says no type; 0 unless HAKMEM_PARTITIONS asks for that. */
HAK_INLINE unsigned hak_typed_partition_of_site(uintptr_t caller) {
    if (!hak_hardening.partitions_by_site)
        return 0;
    return 1 + (unsigned)((hak_typed_hash(caller) >> 32) * hak_hardening.partitions >> 32);
}

/* Of a live object of any kind; 0: none. */
unsigned hak_typed_partition_of(const void *obj);
/* Of the slot that begins there; *cls: its class. */
unsigned hak_typed_partition_of_slot(const void *obj, unsigned *cls);

/* As hak_hardening.end, of an object of a partition. */
void *hak_typed_end(void *obj, const hak_granule *granule, hak_record *record, uint32_t word,
                    const char *call);

/* As hak_quarantine_first. */
void *hak_typed_first(void *obj);

/* The calling thread's quarantine for partitions ends with it. Before hak_quarantine_end. */
void hak_typed_thread_ends(void);
/* Calls `does` as if that quarantine were the thread's only one; nothing, where it has none. */
void hak_typed_swapped(void (*does)(void));
void hak_typed_fork_child(void);

#endif
