/* prove_bits.c: the arithmetic of allocator/base/bits.h. */
#include "proofs/proofs.h"

#include "allocator/base/bits.h"

/* Proves: a sum, a difference of alignments: checked ones overflow exactly when they say so, and round to the next
 * multiple For: all sizes, all 64 alignments Mutant: bits_align_wraps Flags: --no-standard-checks */
void prove_align(void) {
    size_t n = nondet_size(), align = (size_t)1 << (nondet_unsigned() % 64), out = 0;
    bool fits = hak_align_up_checked(n, align, &out);
    PROVE(fits == (n <= SIZE_MAX - (align - 1)));
    PROVE(!fits || (out >= n && out - n < align && (out & (align - 1)) == 0));
    PROVE(hak_align_down(n, align) <= n && n - hak_align_down(n, align) < align);
    PROVE(!fits || hak_align_up(n, align) == out);
    size_t other = nondet_size();
    fits = hak_add_checked(n, other, &out);
    PROVE(fits == (n <= SIZE_MAX - other) && out == n + other);
}

static bool is_run(uint32_t mask, unsigned first, unsigned count) {
    return (mask & hak_ones32(first, count)) == hak_ones32(first, count);
}

/* Proves: hak_find_run32 finds the first aligned run of ones, and only where there is one
 * For: all 2^32 masks, runs of 1 to 32
 * Mutant: bits_run_not_first
 * Flags: --unwind 34 --no-standard-checks */
void prove_find_run(void) {
    uint32_t mask = nondet_u32();
    unsigned count = 1u << (nondet_unsigned() % 6);
    int found = hak_find_run32(mask, count);
    PROVE(found < 32 &&
          (found < 0 || ((unsigned)found % count == 0 && is_run(mask, (unsigned)found, count))));
    unsigned before = nondet_unsigned() % 32 / count * count;
    PROVE(!is_run(mask, before, count) || (found >= 0 && (unsigned)found <= before));
}
