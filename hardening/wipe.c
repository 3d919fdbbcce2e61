/* wipe.c: see wipe.h. */
#include "hardening/wipe.h"

#include "allocator/os/os.h"
#include "allocator/os/os_process.h"
#include "allocator/pages/mapped_limit.h"
#include "hardening/ahead.h"
#include "hardening/canary.h"
#include "hardening/quarantine.h"
#include "hardening/ring.h"
#include "hardening/stain.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define WIPE_WIDTH      16
#define WIPE_NAME(name) name##_16
#define WIPE_TARGET
#include "hardening/wipe_tiers.h"

#if defined(__x86_64__)
#define WIPE_WIDTH        32
#define WIPE_NAME(name)   name##_32
#define WIPE_TARGET       __attribute__((target("avx2")))
#define WIPE_IS_ZERO(any) (_mm256_testz_si256((__m256i)(any), (__m256i)(any)) != 0)
#define WIPE_NOT_ZERO(p)                                                                                     \
    (uint32_t)~_mm256_movemask_epi8(                                                                         \
        _mm256_cmpeq_epi8(_mm256_loadu_si256((const __m256i *)(p)), _mm256_setzero_si256()))
#include "hardening/wipe_tiers.h"

#define WIPE_WIDTH        64
#define WIPE_NAME(name)   name##_64
#define WIPE_TARGET       __attribute__((target("avx512f,avx512vl,avx512dq,avx512bw")))
#define WIPE_IS_ZERO(any) (_mm512_test_epi64_mask((__m512i)(any), (__m512i)(any)) == 0)
#define WIPE_NOT_ZERO(p)                                                                                     \
    _mm512_test_epi8_mask(_mm512_loadu_si512((const void *)(p)), _mm512_loadu_si512((const void *)(p)))
#include "hardening/wipe_tiers.h"
#endif

/* What a ring keeps without memory gives its pages back here. */
_Static_assert((int)HAK_WIPE_MOST == (int)HAK_RING_BARE, "one size for both");

/* Under a tight limit such slots rest nowhere. */
static bool rests_bare(void) {
    return hak_hardening.quarantine && !hak_limit_is_tight();
}

/* In parts for which nothing is purged: pages may be longer than HAK_WIPE_MOST. */
static void clear_edge(char *p, size_t size) {
    for (size_t part; size != 0; p += part, size -= part)
        hak_wipe.clear(p, part = hak_min(size, HAK_WIPE_MOST));
}

bool hak_wipe_purge(char *p, size_t size) {
    hak_place place;
    if (!rests_bare())
        return false;
    if (hak_ledger_find(p, &place)) {
        hak_ahead_learn(p, size, place.size);
        size = place.size; /* what lies behind is zero, but may have memory */
    }
    uintptr_t start = (uintptr_t)p, end = start + size;
    uintptr_t from = hak_align_up(start, hak_os_page), to = hak_align_down(end, hak_os_page);
    bool done = from < to && hak_ring_purge_pages(start, size);
    if (HAK_UNLIKELY(done == (hak_ring_stayed == p)))
        hak_ring_stayed = done ? NULL : p;
    if (!done)
        return false;
    clear_edge(p, from - start);
    clear_edge((char *)to, end - to);
    return true;
}

/* Checks a random line of each page behind the first `used` bytes. */
HAK_PEEKS static bool rest_is_clear(const char *obj, size_t used, size_t room) {
    enum { PAGE = 4096, LINES_LOG2 = 6 };
    size_t line = (size_t)(hak_random_next() >> (64 - LINES_LOG2)) * HAK_CACHELINE;
    for (size_t page = hak_align_down(used, PAGE); page < room; page += PAGE)
        if (page + line >= used && page + line < room && !hak_wipe.is_clear(obj + page + line, HAK_CACHELINE))
            return false;
    return true;
}

bool hak_wipe_bare_is_clear(const char *obj, size_t room, uint32_t freed) {
    if (hak_os_resident_told())
        return hak_stain_find_touched(obj, room) == NULL;
    size_t used = hak_align_up(hak_record_size(freed) + HAK_CANARY_BYTES, HAK_MIN_ALIGN);
    return hak_wipe.is_clear(obj, used) && (used == room || rest_is_clear(obj, used, room));
}

void *hak_wipe_reuse_unverified(void *obj, size_t size, hak_record *record, uint32_t live, size_t room) {
    obj = hak_mte_make(obj, room, record);
    bool bare = (live & HAK_RECORD_BARE) != 0 && size >= HAK_CANARY_BARE_FROM && hak_canary_right(obj, live);
    if (!bare)
        live &= ~(uint32_t)HAK_RECORD_BARE;
    if (hak_hardening.canary && !bare)
        hak_canary_set(obj, size);
    if (room > HAK_WIPE_MOST && rests_bare())
        hak_ahead_ask(obj, size + HAK_CANARY_BYTES, room);
    hak_record_store(record, live);
    return obj;
}

HAK_COLD void *hak_wipe_reuse_slow(void *obj, size_t size, hak_record *record, uint32_t live, size_t room) {
    hak_stain_slot(obj, 0);
    return hak_wipe_reuse_unverified(obj, size, record, live, room);
}

/* hak_hardening.end when freed slots are not zeroed. */
static void *end_as_it_is(void *obj, const hak_granule *granule, hak_record *record, uint32_t word,
                          const char *call) {
    (void)call;
    hak_guarded *mine = hak_guarded_mine;
    hak_record_store(record, hak_record_freed(mine->owner, word));
    return hak_ring_exchange(mine, obj, granule->cls, granule->size);
}

HAK_COLD void *hak_wipe_end_slow(void *obj, const hak_granule *granule, hak_record *record, uint32_t word,
                                 const char *call) {
    if (hak_hardening.canary)
        hak_stain_slack(obj, hak_record_size(word), granule->size, call);
    hak_wipe.clear(obj, granule->size);
    hak_record_end(record);
    return hak_ring_exchange(hak_guarded_mine, obj, granule->cls, granule->size);
}

static void choose(hak_wipe_calls calls, void *(*reuse)(void *, size_t, hak_record *, uint32_t, size_t),
                   void *(*end)(void *, const hak_granule *, hak_record *, uint32_t, const char *)) {
    hak_wipe = calls;
    hak_hardening.reuse = hak_hardening.verify ? reuse : hak_wipe_reuse_unverified;
    hak_hardening.end = hak_hardening.zero ? end : end_as_it_is;
}

unsigned hak_wipe_choose(unsigned most) {
    unsigned width = hak_min(most, hak_os_vector_bytes());
    choose((hak_wipe_calls){clear_16, is_clear_16, finish_16}, reuse_16, end_16);
#if defined(__x86_64__)
    if (width == 32)
        choose((hak_wipe_calls){clear_32, is_clear_32, finish_32}, reuse_32, end_32);
    if (width == 64)
        choose((hak_wipe_calls){clear_64, is_clear_64, finish_64}, reuse_64, end_64);
#endif
    return width;
}
