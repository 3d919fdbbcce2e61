/* bits.h: arithmetic on sizes, addresses and bitmap words. Layer 0. Pure functions.
 * `align` is always a power of two. */
#ifndef HAK_BITS_H
#define HAK_BITS_H

#include "allocator/base/base.h"

HAK_INLINE bool hak_is_pow2(size_t n) {
    return n != 0 && (n & (n - 1)) == 0;
}

/* Index of the highest set bit; `n` is not 0. */
HAK_INLINE unsigned hak_log2(size_t n) {
    return 63u - (unsigned)__builtin_clzll(n);
}

/* Index of the lowest set bit; `n` is not 0. */
HAK_INLINE unsigned hak_lowest_bit(uint64_t n) {
    return (unsigned)__builtin_ctzll(n);
}

HAK_INLINE uintptr_t hak_align_down(uintptr_t n, size_t align) {
    return n & ~(uintptr_t)(align - 1);
}

/* Must not overflow; for sizes from the program use hak_align_up_checked. */
HAK_INLINE uintptr_t hak_align_up(uintptr_t n, size_t align) {
    return (n + align - 1) & ~(uintptr_t)(align - 1);
}

/* Stores the sum, the product or the aligned size in *out. Returns false on overflow. */
HAK_INLINE bool hak_add_checked(size_t a, size_t b, size_t *out) {
    return !__builtin_add_overflow(a, b, out);
}
HAK_INLINE bool hak_mul_checked(size_t a, size_t b, size_t *out) {
    return !__builtin_mul_overflow(a, b, out);
}
HAK_INLINE bool hak_align_up_checked(size_t n, size_t align, size_t *out) {
    size_t sum;
    if (!hak_add_checked(n, align - 1, &sum))
        return false;
    *out = sum & ~(align - 1);
    return true;
}

HAK_INLINE size_t hak_min(size_t a, size_t b) {
    return a < b ? a : b;
}
HAK_INLINE size_t hak_max(size_t a, size_t b) {
    return a > b ? a : b;
}

/* The smallest power of two that is at least `n`; 0 when there is none. */
HAK_INLINE size_t hak_round_to_pow2(size_t n) {
    if (n <= 1)
        return 1;
    unsigned log2 = hak_log2(n - 1) + 1;
    return log2 < 64 ? (size_t)1 << log2 : 0;
}

/* A mask of `count` ones (1 to 32) that begins at bit `first`. */
HAK_INLINE uint32_t hak_ones32(unsigned first, unsigned count) {
    return (uint32_t)(((1ull << count) - 1) << first);
}

/* The start bits of all aligned runs of `count` ones in `mask`; `count` is a power of two up to 32. Each round
 * keeps a one only where two neighbouring runs of half the length were both ones. */
HAK_INLINE uint32_t hak_runs32(uint32_t mask, unsigned count) {
    static const uint32_t starts[6] = {0xffffffffu, 0x55555555u, 0x11111111u, 0x01010101u, 0x00010001u, 1u};
    for (unsigned have = 1; have < count; have *= 2)
        mask &= mask >> have;
    return mask & starts[hak_log2(count)];
}

/* The index of the first bit of the first such run; -1 when there is none. */
HAK_INLINE int hak_find_run32(uint32_t mask, unsigned count) {
    uint32_t runs = hak_runs32(mask, count);
    return runs ? (int)__builtin_ctz(runs) : -1;
}

#endif
