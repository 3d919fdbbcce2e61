/* wipe_tiers.h: zeroing and the search for a byte that is not zero, for one vector width. wipe.c includes it once for
 * each width that the processor may have.
 *
 * Random sizes make every loop end a mispredicted branch, which costs more than the memory (18 ns for a fixed size of
 * 512 B, 60 ns for random ones, both passes). So a tier does all its accesses always: the first and the last vector unaligned,
 * those between aligned, and where they would pass the last one, that one again. p is a multiple of 16, size a
 * multiple of 16 and at least 16. Measured with sizes of 16 to 1024 B in the second-level cache, AVX-512: zeroing 5 ns
 * (a loop 7, rep stosb 16, a jump table 13, masked stores 9), the search 6 ns. */
#ifndef WIPE_WIDTH
#define WIPE_WIDTH      16
#define WIPE_NAME(name) name##_any
#define WIPE_TARGET
#define WIPE_DEFAULT
#endif

#include "allocator/bits.h"

typedef uint64_t WIPE_NAME(vec) __attribute__((vector_size(WIPE_WIDTH), aligned(1), may_alias));

/* Where access i of a tier goes. */
#define WIPE_AT(i) (next + (i) * WIPE_WIDTH < last ? next + (i) * WIPE_WIDTH : last)

#define WIPE_STORE(i)    (*(WIPE_NAME(vec) *)WIPE_AT(i) = zero)
#define WIPE_OR(i)       (any |= *(const WIPE_NAME(vec) *)WIPE_AT(i))
#define WIPE_3(DO)       DO(0), DO(1), DO(2)
#define WIPE_4(DO, i)    DO(i), DO((i) + 1), DO((i) + 2), DO((i) + 3)
#define WIPE_3_TO_7(DO)  WIPE_4(DO, 3)
#define WIPE_7_TO_15(DO) WIPE_4(DO, 7), WIPE_4(DO, 11)

/* All tiers; `next` is aligned. */
#define WIPE_TIERS(DO)                                                                                       \
    do {                                                                                                     \
        if (size <= 16 * WIPE_WIDTH) {                                                                       \
            WIPE_3(DO);                                                                                      \
            if (size > 4 * WIPE_WIDTH)                                                                       \
                WIPE_3_TO_7(DO);                                                                             \
            if (size > 8 * WIPE_WIDTH)                                                                       \
                WIPE_7_TO_15(DO);                                                                            \
        } else {                                                                                             \
            for (; next < last; next += 4 * WIPE_WIDTH)                                                      \
                WIPE_4(DO, 0);                                                                               \
        }                                                                                                    \
    } while (0)

WIPE_TARGET static void WIPE_NAME(clear)(char *p, size_t size) {
    typedef uint64_t small __attribute__((vector_size(16), aligned(1), may_alias));
    if (WIPE_WIDTH > 16 && size < WIPE_WIDTH) { /* 16, 32 or 48 bytes */
        *(small *)p = *(small *)(p + size / 2 / 16 * 16) = *(small *)(p + size - 16) = (small){0};
        return;
    }
    const WIPE_NAME(vec) zero = {0};
    char *last = p + size - WIPE_WIDTH, *next = p + (-(uintptr_t)p & (WIPE_WIDTH - 1));
    *(WIPE_NAME(vec) *)p = *(WIPE_NAME(vec) *)last = zero;
    WIPE_TIERS(WIPE_STORE);
}

HAK_PEEKS WIPE_TARGET static bool WIPE_NAME(is_clear)(const char *p, size_t size) {
    typedef uint64_t small __attribute__((vector_size(16), aligned(1), may_alias));
    if (WIPE_WIDTH > 16 && size < WIPE_WIDTH) {
        small few =
            *(const small *)p | *(const small *)(p + size / 2 / 16 * 16) | *(const small *)(p + size - 16);
        return (few[0] | few[1]) == 0;
    }
    const char *last = p + size - WIPE_WIDTH, *next = p + (-(uintptr_t)p & (WIPE_WIDTH - 1));
    WIPE_NAME(vec) any = *(const WIPE_NAME(vec) *)p | *(const WIPE_NAME(vec) *)last;
    WIPE_TIERS(WIPE_OR);
    uint64_t sum = 0;
    for (int i = 0; i < WIPE_WIDTH / 8; i++)
        sum |= any[i];
    return sum == 0;
}

/* The slot is a multiple of 16, so that up to 15 bytes are the upper part of its last 16. Few, but for aligned objects. */
WIPE_TARGET static bool WIPE_NAME(finish)(char *p, size_t used, size_t room) {
    typedef uint64_t word __attribute__((aligned(1), may_alias));
    const char *end = p + room;
    size_t slack = room - used, whole = slack & ~(size_t)15;
    bool good;
#ifdef WIPE_NOT_ZERO
    if (slack < WIPE_WIDTH && room >= WIPE_WIDTH) { /* one load, whose lower bytes do not count */
        uint64_t bits = WIPE_NOT_ZERO(end - WIPE_WIDTH);
        good = bits >> 1 >> (WIPE_WIDTH - 1 - slack) == 0;
    } else
#endif
        if (slack <= 8)
        good = slack == 0 || *(const word *)(end - 8) >> (64 - 8 * slack) == 0;
    else if (whole == 0)
        good = (*(const word *)(end - 8) | *(const word *)(end - slack)) == 0;
    else
        good = (*(const word *)(end - slack) | *(const word *)(end - slack + 8)) == 0 &&
               WIPE_NAME(is_clear)(end - whole, whole);
    if (good)
        WIPE_NAME(clear)(p, (used + 15) & ~(size_t)15);
    return good;
}

#undef WIPE_AT
#undef WIPE_STORE
#undef WIPE_OR
#undef WIPE_3
#undef WIPE_4
#undef WIPE_3_TO_7
#undef WIPE_7_TO_15
#undef WIPE_TIERS
#ifdef WIPE_DEFAULT /* the header alone: nobody uses the functions */
static inline void *WIPE_NAME(unused)(void) {
    return (void *)&WIPE_NAME(finish);
}
#undef WIPE_DEFAULT
#endif
#undef WIPE_WIDTH
#undef WIPE_NAME
#undef WIPE_TARGET
#undef WIPE_NOT_ZERO
