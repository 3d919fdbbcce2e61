/* wipe_tiers.h: zeroing and the search for a byte that is not zero, for one vector width. wipe.c includes it once for
 * each width that the processor may have.
 *
 * Random sizes make every loop end a mispredicted branch, which costs more than the memory (18 ns for a fixed size of
 * 512 B, 60 ns for random ones, both passes). So a tier does all its accesses always, at offsets that are clamped to the
 * end: they overlap instead of ending early. p is a multiple of 16, size a multiple of 16 and at least 16. */
#ifndef WIPE_WIDTH
#define WIPE_WIDTH      16
#define WIPE_NAME(name) name##_any
#define WIPE_TARGET
#define WIPE_DEFAULT
#endif

#include "allocator/bits.h"

typedef uint64_t WIPE_NAME(vec) __attribute__((vector_size(WIPE_WIDTH), aligned(1), may_alias));

/* Offset of access i of a tier. */
#define WIPE_AT(i) hak_min((size_t)(i) * WIPE_WIDTH, size - WIPE_WIDTH)

#define WIPE_STORE(i) (*(WIPE_NAME(vec) *)(p + WIPE_AT(i)) = zero)
#define WIPE_OR(i)    (any |= *(const WIPE_NAME(vec) *)(p + WIPE_AT(i)))
#define WIPE_4(DO, i) DO(i), DO((i) + 1), DO((i) + 2), DO((i) + 3)
#define WIPE_16(DO)   WIPE_4(DO, 0), WIPE_4(DO, 4), WIPE_4(DO, 8), WIPE_4(DO, 12)

WIPE_TARGET static void WIPE_NAME(clear)(char *p, size_t size) {
    typedef uint64_t small __attribute__((vector_size(16), aligned(1), may_alias));
    if (WIPE_WIDTH > 16 && size < WIPE_WIDTH) { /* 16, 32 or 48 bytes */
        *(small *)p = *(small *)(p + size / 2 / 16 * 16) = *(small *)(p + size - 16) = (small){0};
        return;
    }
    const WIPE_NAME(vec) zero = {0};
    if (size <= 4 * WIPE_WIDTH) {
        WIPE_4(WIPE_STORE, 0);
    } else if (size <= 16 * WIPE_WIDTH) {
        WIPE_16(WIPE_STORE);
    } else {
        for (size_t at = 0; at < size - 4 * WIPE_WIDTH; at += 4 * WIPE_WIDTH)
            for (size_t i = 0; i < 4; i++)
                *(WIPE_NAME(vec) *)(p + at + i * WIPE_WIDTH) = zero;
        for (size_t i = 1; i <= 4; i++)
            *(WIPE_NAME(vec) *)(p + size - i * WIPE_WIDTH) = zero;
    }
}

WIPE_TARGET static bool WIPE_NAME(is_clear)(const char *p, size_t size) {
    typedef uint64_t small __attribute__((vector_size(16), aligned(1), may_alias));
    if (WIPE_WIDTH > 16 && size < WIPE_WIDTH) {
        small few =
            *(const small *)p | *(const small *)(p + size / 2 / 16 * 16) | *(const small *)(p + size - 16);
        return (few[0] | few[1]) == 0;
    }
    WIPE_NAME(vec) any = {0};
    if (size <= 4 * WIPE_WIDTH) {
        WIPE_4(WIPE_OR, 0);
    } else if (size <= 16 * WIPE_WIDTH) {
        WIPE_16(WIPE_OR);
    } else {
        for (size_t at = 0; at < size - 4 * WIPE_WIDTH; at += 4 * WIPE_WIDTH)
            for (size_t i = 0; i < 4; i++)
                any |= *(const WIPE_NAME(vec) *)(p + at + i * WIPE_WIDTH);
        for (size_t i = 1; i <= 4; i++)
            any |= *(const WIPE_NAME(vec) *)(p + size - i * WIPE_WIDTH);
    }
    uint64_t sum = 0;
    for (int i = 0; i < WIPE_WIDTH / 8; i++)
        sum |= any[i];
    return sum == 0;
}

#undef WIPE_AT
#undef WIPE_STORE
#undef WIPE_OR
#undef WIPE_4
#undef WIPE_16
#ifdef WIPE_DEFAULT /* the header alone: nobody uses the functions */
static inline void *WIPE_NAME(unused)(void) {
    return (void *)((uintptr_t)&WIPE_NAME(clear) ^ (uintptr_t)&WIPE_NAME(is_clear));
}
#endif
#undef WIPE_WIDTH
#undef WIPE_NAME
#undef WIPE_TARGET
