/* wipe.c: see wipe.h. */
#include "hardening/wipe.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define WIPE_WIDTH      16
#define WIPE_NAME(name) name##_16
#define WIPE_TARGET
#include "hardening/wipe_tiers.h"

#if defined(__x86_64__)
#define WIPE_WIDTH      32
#define WIPE_NAME(name) name##_32
#define WIPE_TARGET     __attribute__((target("avx2")))
#define WIPE_NOT_ZERO(p)                                                                                     \
    (uint32_t)~_mm256_movemask_epi8(                                                                         \
        _mm256_cmpeq_epi8(_mm256_loadu_si256((const __m256i *)(p)), _mm256_setzero_si256()))
#include "hardening/wipe_tiers.h"

#define WIPE_WIDTH      64
#define WIPE_NAME(name) name##_64
#define WIPE_TARGET     __attribute__((target("avx512f,avx512vl,avx512dq,avx512bw")))
#define WIPE_NOT_ZERO(p)                                                                                     \
    _mm512_test_epi8_mask(_mm512_loadu_si512((const void *)(p)), _mm512_loadu_si512((const void *)(p)))
#include "hardening/wipe_tiers.h"
#endif

HAK_HIDDEN hak_wipe_calls hak_wipe = {clear_16, is_clear_16, finish_16};

void hak_wipe_init(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2"))
        hak_wipe = (hak_wipe_calls){clear_32, is_clear_32, finish_32};
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw"))
        hak_wipe = (hak_wipe_calls){clear_64, is_clear_64, finish_64};
#endif
}

HAK_PEEKS const unsigned char *hak_wipe_find(const void *start, size_t size) {
    const unsigned char *at = start, *end = at + size;
    for (; at < end && (uintptr_t)at % 16 != 0; at++)
        if (*at != 0)
            return at;
    size_t whole = hak_align_down((uintptr_t)(end - at), 16);
    if (whole != 0 && at < end && hak_wipe.is_clear((const char *)at, whole))
        at += whole;
    for (; at < end; at++)
        if (*at != 0)
            return at;
    return NULL;
}
