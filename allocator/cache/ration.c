/* ration.c: see ration.h. */
#include "allocator/cache/ration.h"

#include "allocator/heap/profile.h"
#include "allocator/os/os.h"

enum {
    /* Most bytes of a ration: objects that malloc and free use in turn stay in the processor's first cache. */
    RATION_BYTES = 4 * HAK_KIB,
};

/* xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled"). It only
 * chooses samples, so it need not be unpredictable. */
static uint64_t draw(hak_rations *rations) {
    uint64_t x = rations->random;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    rations->random = x;
    return x * 0x2545f4914f6cdd1d;
}

/* The thread's rations, ready for use; NULL: the thread is not sampled. */
static hak_rations *rations_mine(void) {
    hak_rations *rations = hak_cache_mine->rations;
    if (rations == NULL || rations->random != 0)
        return rations;
    hak_os_random(&rations->random, sizeof rations->random);
    rations->random |= 1;
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++) {
        rations->left[cls] = hak_profile_draw(cls, draw(rations));
        rations->most[cls] = (uint8_t)hak_min(RATION_BYTES / hak_classes[cls].size, HAK_RATION_MOST);
    }
    return rations;
}

bool hak_ration_next_due(unsigned cls) {
    const hak_rations *rations = rations_mine();
    return rations != NULL && !rations->busy && rations->left[cls] == 1;
}

/* Draws the distance to the next sample of the class. */
static HAK_COLD void begin_class(hak_rations *rations, unsigned cls) {
    rations->left[cls] = hak_profile_draw(cls, draw(rations));
}

bool hak_ration_due(unsigned cls, size_t size) {
    hak_rations *rations = rations_mine();
    if (rations == NULL || rations->busy)
        return false;
    if (cls == 0)
        return hak_profile_hits(size, draw(rations));
    if (--rations->left[cls] != 0)
        return false;
    begin_class(rations, cls);
    return true;
}

/* Keeps the order of the bin, so that malloc hands out the same objects as without a profile. */
static void fill(hak_cache *cache, hak_rations *rations, unsigned cls, void **top, size_t held) {
    size_t count = hak_min(hak_min(rations->most[cls], rations->left[cls] - 1), held);
    void **to = rations->entries[cls], **from = top - count;
    for (size_t i = 1; i <= count; i++)
        to[i] = from[i];
    HAK_SHOW(cache->top[cls], from);
    HAK_SHOW(cache->top[HAK_RATION_OF(cls)], to + count);
    rations->left[cls] -= (uint32_t)count;
}

void *hak_ration_pop(unsigned cls) {
    hak_cache *cache = hak_cache_mine;
    hak_rations *rations = cache->rations;
    if (HAK_UNLIKELY(cls == 0 || rations == NULL || rations->left[cls] <= 1 || rations->busy))
        return NULL;
    void **top = cache->top[cls], *obj = *top;
    if (HAK_UNLIKELY(obj == NULL))
        return NULL;
    rations->left[cls]--;
    if (HAK_UNLIKELY(*cache->top[HAK_RATION_OF(cls)] !=
                     NULL)) { /* the call was not malloc, so the ration is not empty */
        HAK_SHOW(cache->top[cls], top - 1);
        return obj;
    }
    fill(cache, rations, cls, top - 1, (size_t)(top - hak_cache_base(cache, cls)) - 1);
    return obj;
}

void hak_ration_fill(unsigned cls) {
    hak_cache *cache = hak_cache_mine;
    hak_rations *rations = rations_mine();
    if (rations == NULL || *cache->top[HAK_RATION_OF(cls)] != NULL)
        return;
    void **top = cache->top[cls];
    fill(cache, rations, cls, top, (size_t)(top - hak_cache_base(cache, cls)));
}

void hak_ration_busy(bool busy) {
    if (hak_cache_mine->rations != NULL)
        hak_cache_mine->rations->busy = busy;
}
