/* canary.h: eight bytes right after the requested size, which only an overflow changes.
 *
 *   | requested bytes ........ | y 0 x x x x x z | zeros to the end of the slot |
 *
 * The canary is keyed per process and differs at each address. Its first byte is 0x80 to 0xbf, so writing one
 * NUL, one 0xff or one letter too many always changes it. Its second byte is zero, so a string that runs on
 * ends there and does not print the rest. Its last byte is 0x80 to 0xff, so a letter or a NUL right before the
 * next slot always changes it. The store is not aligned and costs one instruction. A large object has a canary
 * where its last page has room; elsewhere a guard begins right there.
 *
 * Wide objects of calloc are bare: zeros stay in the place of the canary until realloc sets one. A canary would
 * touch the last page of objects that are often not used to their end, such as hash tables and arenas. A bare
 * object does not detect an overflow that writes only zeros. */
#ifndef HAK_CANARY_H
#define HAK_CANARY_H

#include "hardening/ledger.h"
#include "hardening/mte.h"

typedef uint64_t hak_unaligned64 __attribute__((aligned(1), may_alias));

/* calloc's objects are bare from this many bytes on. Below, a reused slot costs up to a page more anyway
 * (wipe.h). */
enum { HAK_CANARY_BARE_FROM = 32 * HAK_KIB };

/* The two halves of the product, combined by xor: each bit depends on all bits of both factors. */
HAK_INLINE uint64_t hak_canary_fold(uint64_t a, uint64_t b) {
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* The canary for address `end`: two folds with two keys each, as wyhash ends (Wang Yi, public domain). One fold
 * would not suffice: for addresses near each other its halves change by nearly constant amounts, and some
 * thirty leaked canaries give the keys bit by bit from the lowest. The input of the second fold differs by an
 * unknown 64-bit number for each address, which leaves no such start. It takes six cycles, and nothing waits
 * for the result. */
HAK_INLINE uint64_t hak_canary_at(const void *end) {
    const uint64_t *keys = hak_hardening.canary_keys;
    uint64_t mixed = hak_canary_fold((uintptr_t)hak_mte_plain(end) ^ keys[0], keys[1]);
    mixed = hak_canary_fold(mixed ^ keys[2], keys[3]);
    mixed =
        __builtin_bswap64(mixed | 0x80); /* the highest byte comes first: it tells least about the others */
    __asm__("" : "+r"(mixed));           /* keeps the masks after the swap, where their constants are short */
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

/* The eight bytes that should be at `end`, behind a live object with this record. */
HAK_INLINE uint64_t hak_canary_of(const void *end, uint32_t word) {
    return (word & HAK_RECORD_BARE) != 0 ? 0 : hak_canary_at(end);
}

/* As hak_canary_intact, for a live object in a slot, which may be bare. */
HAK_INLINE bool hak_canary_right(const void *obj, uint32_t word) {
    const char *end = (const char *)obj + hak_record_size(word);
    return *(const hak_unaligned64 *)end == hak_canary_of(end, word);
}

/* The first changed byte of the canary; NULL: none. */
const unsigned char *hak_canary_find(const void *obj, uint32_t word);

/* Draws the keys. Called once. */
void hak_canary_init(void);

#endif
