/* random.h: random numbers that cannot be predicted from earlier ones.
 *
 * ChaCha with 8 rounds (Bernstein 2008), keyed by the kernel. Each batch first replaces the key that made it
 * ("fast key erasure", Bernstein 2017), so a leak of the state does not reveal earlier numbers. A generator
 * belongs to one thread, or is guarded by a lock. */
#ifndef HAK_RANDOM_H
#define HAK_RANDOM_H

#include "allocator/base/base.h"

enum {
    HAK_RNG_BATCH = 512, /* bytes per batch, the next key included */
    HAK_RNG_KEY = 32,
};

typedef struct hak_rng {
    union {
        uint8_t bytes[HAK_RNG_BATCH]; /* the key, then unused numbers */
        uint32_t words[HAK_RNG_BATCH / 4];
    };
    uint32_t
        next; /* index of the next unused byte; HAK_RNG_BATCH: none left; 0, as in zeroed memory: not seeded */
} hak_rng;

/* Seeds the generator with a new key from the kernel. */
void hak_rng_seed(hak_rng *rng);

/* Makes the next batch. */
void hak_rng_refill(hak_rng *rng);

/* Fills `out` with `size` (at most 64) bytes. */
void hak_rng_bytes(hak_rng *rng, void *out, size_t size);

/* The next number. Seeds a new generator first. Each number is erased, so a later leak of the state does not
 * reveal it. */
uint64_t hak_rng_next_slow(hak_rng *rng);
HAK_INLINE uint64_t hak_rng_next(hak_rng *rng) {
    typedef uint64_t word __attribute__((aligned(1), may_alias));
    if (HAK_UNLIKELY(rng->next - 1 > HAK_RNG_BATCH - sizeof(uint64_t) - 1)) /* 0, or too few left */
        return hak_rng_next_slow(rng);
    word *at = (word *)(rng->bytes + rng->next);
    uint64_t number = *at;
    *at = 0;
    rng->next += sizeof number;
    return number;
}

/* A number from 0 to bound - 1; biased by less than bound / 2^32. */
HAK_INLINE uint32_t hak_rng_below(hak_rng *rng, uint32_t bound) {
    return (uint32_t)(((hak_rng_next(rng) >> 32) * bound) >> 32);
}

#endif
