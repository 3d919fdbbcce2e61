/* canary.h: eight bytes from the first byte after the requested size on, which only an overflow changes.
 *
 *   | requested bytes ........ | y 0 x x x x x z | zeros to the end of the slot |
 *
 * Keyed per process and different at each address. Its first byte is 0x80 to 0xbf, so that one NUL, one 0xff or one
 * letter too many always shows; its second is zero, so that a string that runs on stops there and does not print the
 * rest; its last is 0x80 to 0xff, so that a letter or a NUL written right before the next slot always shows. The store
 * is not aligned and costs one instruction. Large objects have one where their last page has room; else the guard
 * begins right there.
 *
 * Wide objects of calloc's are bare: zeros stay in the canary's place, until realloc sets one. It would touch the last
 * page of what is often never used to its end, a hash table or an arena. What a bare object cannot tell is an overflow
 * by zeros alone. */
#ifndef HAK_CANARY_H
#define HAK_CANARY_H

#include "hardening/ledger.h"

typedef uint64_t hak_unaligned64 __attribute__((aligned(1), may_alias));

/* Bytes from which on calloc's objects are bare: up to here a page more is what a reused slot costs, too (wipe.h). */
enum { HAK_CANARY_BARE_FROM = 32 * HAK_KIB };

/* The two halves of the product, laid over each other: each bit depends on all bits of both. */
HAK_INLINE uint64_t hak_canary_fold(uint64_t a, uint64_t b) {
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* The canary that belongs at `end`. Two folds with keys of their own, as wyhash ends (Wang Yi, public domain). One
 * would not do: where addresses are near each other its halves change by nearly constant amounts, and some thirty
 * leaked canaries give the keys bit by bit from the lowest. What the second one is given differs by an unknown 64-bit
 * number for each address, so that no such start is left. Six cycles, which nothing waits for. */
HAK_INLINE uint64_t hak_canary_at(const void *end) {
    const uint64_t *keys = hak_hardening.canary_keys;
    uint64_t mixed = hak_canary_fold((uintptr_t)end ^ keys[0], keys[1]);
    mixed = hak_canary_fold(mixed ^ keys[2], keys[3]);
    mixed = __builtin_bswap64(mixed | 0x80); /* the highest byte comes first: it says least of the others */
    __asm__("" : "+r"(mixed));               /* the constants are short behind the swap, and long before it */
    return (mixed & ~(uint64_t)0xffc0) | 0x80;
}

HAK_INLINE void hak_canary_set(void *obj, size_t size) {
    char *end = (char *)obj + size;
    *(hak_unaligned64 *)end = hak_canary_at(end);
}

HAK_INLINE bool hak_canary_intact(const void *obj, size_t size) {
    const char *end = (const char *)obj + size;
    return *(const hak_unaligned64 *)end == hak_canary_at(end);
}

/* The eight bytes that belong at `end`, behind a live object of that record. */
HAK_INLINE uint64_t hak_canary_of(const void *end, uint32_t word) {
    return (word & HAK_RECORD_BARE) != 0 ? 0 : hak_canary_at(end);
}

/* As hak_canary_intact, of a slot's live object, which may be bare. */
HAK_INLINE bool hak_canary_right(const void *obj, uint32_t word) {
    const char *end = (const char *)obj + hak_record_size(word);
    return *(const hak_unaligned64 *)end == hak_canary_of(end, word);
}

/* The first of those bytes that is not as it was; NULL: none. */
const unsigned char *hak_canary_find(const void *obj, uint32_t word);

/* Draws the keys. Once. */
void hak_canary_init(void);

#endif
