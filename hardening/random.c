/* random.c: see random.h. */
#include "hardening/random.h"

#include "allocator/os/os.h"

#include <string.h>

/* Computes four blocks side by side: the compiler uses vector registers for them on every machine. */
typedef uint32_t lanes __attribute__((vector_size(16)));
enum { LANES = 4, BLOCK = 64, ROUNDS = 8 };

#define ROTATE(x, n) (((x) << (n)) | ((x) >> (32 - (n))))
#define QUARTER(a, b, c, d)                                                                                  \
    do {                                                                                                     \
        a += b, d ^= a, d = ROTATE(d, 16);                                                                   \
        c += d, b ^= c, b = ROTATE(b, 12);                                                                   \
        a += b, d ^= a, d = ROTATE(d, 8);                                                                    \
        c += d, b ^= c, b = ROTATE(b, 7);                                                                    \
    } while (0)

static lanes spread(uint32_t word) {
    return (lanes){word, word, word, word};
}

/* Blocks `counter` to `counter` + 3 of the stream of `key`. */
static void four_blocks(const uint32_t key[8], uint32_t counter, uint32_t *out) {
    lanes start[16], x[16];
    for (int i = 0; i < 4; i++)
        start[i] = spread((const uint32_t[]){0x61707865, 0x3320646e, 0x79622d32, 0x6b206574}[i]);
    for (int i = 0; i < 8; i++)
        start[4 + i] = spread(key[i]);
    start[12] = spread(counter) + (lanes){0, 1, 2, 3};
    start[13] = start[14] = start[15] = spread(0);
    memcpy(x, start, sizeof x);
    for (int i = 0; i < ROUNDS; i += 2) {
        for (int c = 0; c < 4; c++)
            QUARTER(x[c], x[4 + c], x[8 + c], x[12 + c]);
        for (int c = 0; c < 4; c++)
            QUARTER(x[c], x[4 + (c + 1) % 4], x[8 + (c + 2) % 4], x[12 + (c + 3) % 4]);
    }
    for (int i = 0; i < 16; i++) {
        x[i] += start[i];
        memcpy(out + i * LANES, &x[i], sizeof x[i]); /* the order of the words does not matter */
    }
}

void hak_rng_refill(hak_rng *rng) {
    uint32_t key[HAK_RNG_KEY / 4];
    memcpy(key, rng->words, sizeof key);
    for (uint32_t block = 0; block < HAK_RNG_BATCH / BLOCK; block += LANES)
        four_blocks(key, block, rng->words + block * (BLOCK / 4));
    memset(key, 0, sizeof key);
    __asm__ volatile("" : : "r"(key) : "memory"); /* keeps the compiler from removing the memset */
    rng->next = HAK_RNG_KEY;
}

void hak_rng_seed(hak_rng *rng) {
    hak_os_random(rng->bytes, HAK_RNG_KEY);
    hak_rng_refill(rng);
}

void hak_rng_bytes(hak_rng *rng, void *out, size_t size) {
    if (rng->next == 0)
        hak_rng_seed(rng);
    if (rng->next + size > HAK_RNG_BATCH)
        hak_rng_refill(rng);
    memcpy(out, rng->bytes + rng->next, size);
    memset(rng->bytes + rng->next, 0, size); /* a later leak of the state does not reveal it */
    rng->next += (uint32_t)size;
}

uint64_t hak_rng_next_slow(hak_rng *rng) {
    if (rng->next == 0)
        hak_rng_seed(rng);
    else
        hak_rng_refill(rng);
    return hak_rng_next(rng);
}
