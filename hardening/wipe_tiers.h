/* wipe_tiers.h: zeroing, and the search for a byte that is not zero, for one vector width. wipe.c includes it
 * once for each width that the processor may have.
 *
 * With random sizes the end of every loop is a mispredicted branch, which costs more than the memory (18 ns for
 * a fixed size of 512 B, 60 ns for random sizes, both passes). So a tier always makes all its accesses: the
 * first and the last vector unaligned, those between aligned; an access that would pass the last aligned vector
 * repeats that one. p and size are multiples of 16, and size is at least 16. Measured with sizes of 16 to 1024
 * B in the second-level cache, AVX-512: zeroing 5 ns (a loop 7, rep stosb 16, a jump table 13, masked stores
 * 9), the search 6 ns. */
#ifndef WIPE_WIDTH
#define WIPE_WIDTH      16
#define WIPE_NAME(name) name##_any
#define WIPE_TARGET
#define WIPE_DEFAULT
#endif

#include "allocator/base/bits.h"
#include "hardening/canary.h"
#include "hardening/quarantine.h"
#include "hardening/wipe.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

typedef uint64_t WIPE_NAME(vec) __attribute__((vector_size(WIPE_WIDTH), aligned(1), may_alias));

/* The address of access i of a tier. */
#define WIPE_AT(i) (next + (i) * WIPE_WIDTH < stop ? next + (i) * WIPE_WIDTH : stop)

#define WIPE_STORE_AT(at) (*(WIPE_NAME(vec) *)(at) = zero)
#define WIPE_OR_AT(at)    (any |= *(const WIPE_NAME(vec) *)(at))
#define WIPE_STORE(i)     WIPE_STORE_AT(WIPE_AT(i))
#define WIPE_OR(i)        WIPE_OR_AT(WIPE_AT(i))
#define WIPE_3(DO)        DO(0), DO(1), DO(2)
#define WIPE_4(DO, i)     DO(i), DO((i) + 1), DO((i) + 2), DO((i) + 3)

/* A bit for each byte of the vector at p that is not zero. */
#if defined(__SSE2__)
#define WIPE_NOT_ZERO_16(p)                                                                                  \
    (uint32_t)(_mm_movemask_epi8(                                                                            \
                   _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)(p)), _mm_setzero_si128())) ^             \
               0xffff)
#else
#define WIPE_NOT_ZERO_16(p) hak_wipe_bits((const unsigned char *)(p)) /* wipe.h */
#endif
#ifndef WIPE_NOT_ZERO
#define WIPE_NOT_ZERO(p) WIPE_NOT_ZERO_16(p)
#endif
#ifndef WIPE_IS_ZERO
#define WIPE_IS_ZERO(any) (((any)[0] | (any)[1]) == 0)
#endif

/* All vectors between the first and the last one; `next` is aligned. Without a loop, the last aligned vector is
 * repeated: an unaligned vector across two lines would cost two accesses each time. */
#define WIPE_MIDDLE(DO)                                                                                      \
    do {                                                                                                     \
        if (HAK_LIKELY(size <= 16 * WIPE_WIDTH)) {                                                           \
            __typeof__(last) stop = last - ((uintptr_t)last & (WIPE_WIDTH - 1));                             \
            WIPE_3(DO);                                                                                      \
            if (WIPE_WIDTH == 64 || size > 4 * WIPE_WIDTH)                                                   \
                WIPE_4(DO, 3), WIPE_4(DO, 7), WIPE_4(DO, 11);                                                \
        } else {                                                                                             \
            __typeof__(last) stop = last;                                                                    \
            for (; next + 4 * WIPE_WIDTH <= last; next += 4 * WIPE_WIDTH) {                                  \
                DO##_AT(next), DO##_AT(next + WIPE_WIDTH);                                                   \
                DO##_AT(next + 2 * WIPE_WIDTH), DO##_AT(next + 3 * WIPE_WIDTH);                              \
            }                                                                                                \
            WIPE_4(DO, 0);                                                                                   \
        }                                                                                                    \
    } while (0)

/* For more than HAK_WIPE_LOOKS bytes. Often many of them were never written. These are not written here either,
 * so nothing is fetched for writing or written back, and an untouched page takes no memory. */
WIPE_TARGET static HAK_NOINLINE void WIPE_NAME(clear_wide)(char *p, size_t size) {
    if (size > HAK_WIPE_MOST && hak_wipe_purge(p, size))
        return;
    const WIPE_NAME(vec) zero = {0};
    char *last = p + size - WIPE_WIDTH, *next = p + (-(uintptr_t)p & (WIPE_WIDTH - 1)), *stop = last;
    WIPE_STORE_AT(p);
    for (; next + 4 * WIPE_WIDTH <= last; next += 4 * WIPE_WIDTH) {
        WIPE_NAME(vec) any = {0};
        WIPE_4(WIPE_OR, 0);
        if (!WIPE_IS_ZERO(any))
            WIPE_4(WIPE_STORE, 0);
    }
    WIPE_NAME(vec) any = *(const WIPE_NAME(vec) *)last;
    WIPE_4(WIPE_OR, 0);
    if (!WIPE_IS_ZERO(any)) {
        WIPE_STORE_AT(last);
        WIPE_4(WIPE_STORE, 0);
    }
}

WIPE_TARGET HAK_INLINE void WIPE_NAME(clear_inline)(char *p, size_t size) {
    typedef uint64_t small __attribute__((vector_size(16), aligned(1), may_alias));
    if (WIPE_WIDTH > 16 && size < WIPE_WIDTH) { /* 16, 32 or 48 bytes */
        *(small *)p = *(small *)(p + size / 2 / 16 * 16) = *(small *)(p + size - 16) = (small){0};
        return;
    }
    if (HAK_UNLIKELY(size > HAK_WIPE_LOOKS)) {
        WIPE_NAME(clear_wide)(p, size);
        return;
    }
    const WIPE_NAME(vec) zero = {0};
    char *last = p + size - WIPE_WIDTH, *next = p + (-(uintptr_t)p & (WIPE_WIDTH - 1));
    *(WIPE_NAME(vec) *)p = *(WIPE_NAME(vec) *)last = zero;
    if (size > 2 * WIPE_WIDTH)
        WIPE_MIDDLE(WIPE_STORE);
}

WIPE_TARGET HAK_INLINE bool WIPE_NAME(is_clear_inline)(const char *p, size_t size) {
    typedef uint64_t small __attribute__((vector_size(16), aligned(1), may_alias));
    if (WIPE_WIDTH > 16 && size < WIPE_WIDTH) {
        small few =
            *(const small *)p | *(const small *)(p + size / 2 / 16 * 16) | *(const small *)(p + size - 16);
        return (few[0] | few[1]) == 0;
    }
    const char *last = p + size - WIPE_WIDTH, *next = p + (-(uintptr_t)p & (WIPE_WIDTH - 1));
    WIPE_NAME(vec) any = *(const WIPE_NAME(vec) *)p | *(const WIPE_NAME(vec) *)last;
    if (size > 2 * WIPE_WIDTH)
        WIPE_MIDDLE(WIPE_OR);
    return WIPE_IS_ZERO(any);
}

WIPE_TARGET static void WIPE_NAME(clear)(char *p, size_t size) {
    WIPE_NAME(clear_inline)(p, size);
}

HAK_PEEKS WIPE_TARGET static bool WIPE_NAME(is_clear)(const char *p, size_t size) {
    return WIPE_NAME(is_clear_inline)(p, size);
}

/* True when the last `slack` bytes of the slot that ends at `end` are zero. A slot is a multiple of 16, so up
 * to 15 bytes are the upper part of its last 16. Slack is short, except for aligned objects. */
WIPE_TARGET HAK_INLINE bool WIPE_NAME(slack_is_clear)(const char *end, size_t slack) {
    typedef uint64_t word __attribute__((aligned(1), may_alias));
    size_t whole = slack & ~(size_t)15;
    if (slack <= 8)
        return slack == 0 || *(const word *)(end - 8) >> (64 - 8 * slack) == 0;
    if (whole == 0)
        return (*(const word *)(end - 8) | *(const word *)(end - slack)) == 0;
    return (*(const word *)(end - slack) | *(const word *)(end - slack + 8)) == 0 &&
           WIPE_NAME(is_clear_inline)(end - whole, whole);
}

WIPE_TARGET static bool WIPE_NAME(finish)(char *p, size_t used, size_t room) {
    bool wide = room > HAK_WIPE_MOST && room - used > HAK_WIPE_LOOKS;
    if (wide ? hak_stain_find_touched(p + used, room - used) != NULL
             : !WIPE_NAME(slack_is_clear)(p + room, room - used))
        return false;
    /* realloc may have shortened a wide object to less than what clear_inline purges */
    if (room > HAK_WIPE_MOST && used <= HAK_WIPE_MOST && hak_wipe_purge(p, used))
        return true;
    WIPE_NAME(clear_inline)(p, (used + 15) & ~(size_t)15);
    return true;
}

/* hak_hardening.reuse for a slot of more than HAK_WIPE_WHOLE bytes. */
WIPE_TARGET static HAK_NOINLINE void *WIPE_NAME(reuse_wide)(void *obj, size_t size, hak_record *record,
                                                            uint32_t live, size_t room) {
    if (HAK_UNLIKELY(room > HAK_WIPE_MOST ? !hak_wipe_bare_is_clear(obj, room, hak_record_load(record))
                                          : !WIPE_NAME(is_clear_inline)(obj, room)))
        HAK_TAIL return hak_wipe_reuse_slow(obj, size, record, live, room);
    return hak_wipe_reuse_unverified(obj, size, record, live, room);
}

/* hak_hardening.reuse */
WIPE_TARGET static void *WIPE_NAME(reuse)(void *obj, size_t size, hak_record *record, uint32_t live,
                                          size_t room) {
    if (HAK_UNLIKELY(room > HAK_WIPE_WHOLE))
        HAK_TAIL return WIPE_NAME(reuse_wide)(obj, size, record, live, room);
    if (HAK_UNLIKELY(!WIPE_NAME(is_clear_inline)(obj, room)))
        HAK_TAIL return hak_wipe_reuse_slow(obj, size, record, live, room);
    if (hak_hardening.canary)
        hak_canary_set(obj, size);
    hak_record_store(record, live);
    return obj;
}

/* hak_hardening.end for a slot with much slack. */
WIPE_TARGET static HAK_NOINLINE void *WIPE_NAME(end_wide)(void *obj, const hak_granule *granule,
                                                          hak_record *record, uint32_t word,
                                                          const char *call) {
    if (HAK_UNLIKELY(!WIPE_NAME(finish)(obj, hak_record_size(word) + HAK_CANARY_BYTES, granule->size)))
        HAK_TAIL return hak_wipe_end_slow(obj, granule, record, word, call);
    hak_record_end(record);
    return hak_ring_exchange(hak_guarded_mine, obj, granule->cls, granule->size);
}

/* hak_hardening.end. Holds the slot first, so that another thread that also frees it notices, and sweeps skip
 * it. Then zeroes it, and marks it freed. One load checks the slack; bits below the slack are shifted out. */
WIPE_TARGET static void *WIPE_NAME(end)(void *obj, const hak_granule *granule, hak_record *record,
                                        uint32_t word, const char *call) {
    hak_guarded *mine = hak_guarded_mine;
    size_t used = hak_record_size(word) + HAK_CANARY_BYTES, room = granule->size, slack = room - used;
    const char *end = (const char *)obj + room;
    uint64_t bits;
    hak_record_hold(record, hak_record_freed(mine->owner, word));
    if (HAK_UNLIKELY(slack >= WIPE_WIDTH))
        HAK_TAIL return WIPE_NAME(end_wide)(obj, granule, record, word, call);
    if (HAK_LIKELY(room >= WIPE_WIDTH))
        bits = WIPE_NOT_ZERO(end - WIPE_WIDTH) >> 1 >> (WIPE_WIDTH - 1 - slack);
    else if (HAK_LIKELY(slack <= 16))
        bits = WIPE_NOT_ZERO_16(end - 16) >> (16 - slack);
    else /* realloc has shrunk the object in place */
        HAK_TAIL return WIPE_NAME(end_wide)(obj, granule, record, word, call);
    if (HAK_UNLIKELY(bits != 0))
        HAK_TAIL return hak_wipe_end_slow(obj, granule, record, word, call);
    WIPE_NAME(clear_inline)(obj, (used + 15) & ~(size_t)15);
    hak_record_end(record);
    return hak_ring_exchange(mine, obj, granule->cls, room);
}

#undef WIPE_AT
#undef WIPE_STORE_AT
#undef WIPE_OR_AT
#undef WIPE_STORE
#undef WIPE_OR
#undef WIPE_3
#undef WIPE_4
#undef WIPE_MIDDLE
#ifdef WIPE_DEFAULT /* the header is compiled alone: the functions are unused */
static inline void *WIPE_NAME(unused)(void) {
    (void)&WIPE_NAME(reuse), (void)&WIPE_NAME(end), (void)&WIPE_NAME(clear), (void)&WIPE_NAME(is_clear);
    return (void *)&WIPE_NAME(finish);
}
#undef WIPE_DEFAULT
#endif
#undef WIPE_WIDTH
#undef WIPE_NAME
#undef WIPE_TARGET
#undef WIPE_NOT_ZERO_16
#undef WIPE_NOT_ZERO
#undef WIPE_IS_ZERO
