/* mte.h: memory tags of arm64 (FEAT_MTE, HAKMEM_MTE=1): the processor compares the tag of a pointer with that of the
 * memory at each access, and a mismatch faults at the instruction. Elsewhere all of this is empty.
 *
 *   pointer of the program   | 0000 | tag 1..15 | address |      slot of a live object   tag | tag | tag | tag
 *   pointer of the allocator | 0000 |     0     | address |      slot without an owner    0  |  0  |  0  |  0
 *
 * malloc draws the slot's tag when it hands the slot out, and free sets it back to 0. So memory without an owner
 * (freed, never given out, purged, the end of a slab) has the tag 0, which no pointer of the program has: a stale
 * pointer faults until its slot has a new owner. Slots at even places of a slab have even tags, the others odd ones,
 * so two neighbours always differ, whatever other threads do; and a slot never has the tag of its last owner.
 *
 * All addresses inside the allocator are plain, that is with tag 0. What the program passes is stripped at the entry
 * (hak_mte_plain), after its tag was compared with the memory's (hak_mte_stale). Code that looks at slots of others,
 * such as the sweeps, turns the comparison off meanwhile (hak_mte_pause).
 *
 * Slots of more than a page have the tag 0 always, as large and sampled objects have: a program may purge the pages
 * that its object has as a whole, and with a page its tags are lost. See docs/decisions/048. */
#ifndef HAK_MTE_H
#define HAK_MTE_H

#include "hardening/modes.h"

enum { HAK_MTE_GRANULE = 16, HAK_MTE_SHIFT = 56 };

#if defined(__aarch64__)
enum { HAK_MTE_LAST_SHIFT = 11, HAK_MTE_LAST_BITS = 7 << HAK_MTE_LAST_SHIFT }; /* in records: ledger.h */

/* Memory of slabs was mapped. */
void hak_mte_mapped_slow(uintptr_t addr, size_t size);
HAK_INLINE void hak_mte_mapped(uintptr_t addr, size_t size) {
    if (HAK_UNLIKELY(hak_hardening.mte))
        hak_mte_mapped_slow(addr, size);
}

/* The address without the tag. As it is while there are no tags, so that wild pointers stay wild. */
HAK_INLINE void *hak_mte_plain(const void *obj) {
    uintptr_t addr = (uintptr_t)obj;
    return (void *)(HAK_UNLIKELY(hak_hardening.mte) ? addr & ~((uintptr_t)15 << HAK_MTE_SHIFT) : addr);
}

/* Instructions are stated by their code, because assemblers know them only for processors that all have them.
 *
 * The address with the tag of the memory there, which must be mapped. Memory that cannot have tags has 0. */
HAK_INLINE void *hak_mte_tagged(const void *addr) {
    register const void *at __asm__("x9") = addr;
    __asm__ volatile(".inst 0xd9600129 // ldg x9, [x9]" : "+r"(at) : : "memory");
    return (void *)at;
}

/* True when the pointer has not the tag of its memory, which must be mapped. */
HAK_INLINE bool hak_mte_stale(const void *obj) {
    return HAK_UNLIKELY(hak_hardening.mte) && hak_mte_tagged(obj) != obj;
}

/* Between pause and resume no access of this thread is compared. They nest: resume gets what pause returned. A
 * handler of a signal begins with the comparison on, so nothing need be undone when a report does not return. The
 * register is TCO, by the name that every assembler knows. */
HAK_INLINE uint64_t hak_mte_pause(void) {
    uint64_t before = 0;
    if (HAK_UNLIKELY(hak_hardening.mte))
        __asm__ volatile("mrs %0, S3_3_C4_C2_7\n\tmsr S3_3_C4_C2_7, %1"
                         : "=&r"(before)
                         : "r"((uint64_t)1 << 25)
                         : "memory");
    return before;
}
HAK_INLINE void hak_mte_resume(uint64_t before) {
    if (HAK_UNLIKELY(hak_hardening.mte))
        __asm__ volatile("msr S3_3_C4_C2_7, %0" : : "r"(before) : "memory");
}

/* A slot gets an owner: draws a tag for it, and returns the owner's pointer. */
void *hak_mte_make_slow(void *obj, size_t room, const _Atomic uint32_t *record);
HAK_INLINE void *hak_mte_make(void *obj, size_t room, const _Atomic uint32_t *record) {
    return HAK_UNLIKELY(hak_hardening.mte) ? hak_mte_make_slow(obj, room, record) : obj;
}

/* A slot, which the caller has verified, loses its owner. Returns the last owner's tag as the bits that its record
 * gets. */
uint32_t hak_mte_freed_slow(void *obj, size_t room);
HAK_INLINE uint32_t hak_mte_freed(void *obj, size_t room) {
    return HAK_UNLIKELY(hak_hardening.mte) ? hak_mte_freed_slow(obj, room) : 0;
}

/* For mte_calls.c. The most bytes of a slot that gets tags. */
size_t hak_mte_most(void);
/* Stores the pointer's tag over `room` bytes, a multiple of 16; and also zeroes them. */
void hak_mte_store(void *obj, size_t room);
void hak_mte_store_zeroed(void *obj, size_t room);
/* The tag of the slot's memory, as the bits that its record gets when it is freed. */
uint32_t hak_mte_last(const void *obj);
/* True when the slot that begins there has an odd number in its slab. */
bool hak_mte_is_odd(const void *obj);
/* The pointer's tag. */
HAK_INLINE unsigned hak_mte_tag(const void *obj) {
    return (uintptr_t)obj >> HAK_MTE_SHIFT & 15;
}
#else
HAK_INLINE void hak_mte_mapped(uintptr_t addr, size_t size) {
    (void)addr, (void)size;
}
HAK_INLINE void *hak_mte_plain(const void *obj) {
    return (void *)obj;
}
HAK_INLINE bool hak_mte_stale(const void *obj) {
    (void)obj;
    return false;
}
HAK_INLINE uint64_t hak_mte_pause(void) {
    return 0;
}
HAK_INLINE void hak_mte_resume(uint64_t before) {
    (void)before;
}
HAK_INLINE void *hak_mte_make(void *obj, size_t room, const _Atomic uint32_t *record) {
    (void)room, (void)record;
    return obj;
}
HAK_INLINE uint32_t hak_mte_freed(void *obj, size_t room) {
    (void)obj, (void)room;
    return 0;
}
#endif

#endif
