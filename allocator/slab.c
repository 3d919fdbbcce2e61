/* slab.c: see slab.h. */
#include "allocator/slab.h"

#include "allocator/policy.h"
#include "allocator/report.h"

static uint32_t words_of(const hak_slab *slab) {
    return (slab->slots + 63) / 64;
}

/* How often a free slot is drawn before the next free one after the last draw is taken. With an eighth of the slots free
 * eight draws find one with 66 %; what is left over is a small bias towards slots after runs of taken ones. */
enum { DRAWS = 8 };

/* A slot drawn at random. */
static void *take_random(hak_slab *slab) {
    uint32_t slot = 0;
    bool found = false;
    for (int i = 0; i < DRAWS && !found; i++) {
        slot = hak_policy_slot_choice(slab, slab->slots);
        found = slab->free_bits[slot / 64] >> (slot % 64) & 1;
    }
    while (!(slab->free_bits[slot / 64] >> (slot % 64) & 1))
        slot = slot + 1 < slab->slots ? slot + 1 : 0;
    slab->free_bits[slot / 64] &= ~((uint64_t)1 << (slot % 64));
    return (void *)(slab->start + (size_t)slot * hak_classes[slab->cls].size);
}

unsigned hak_slab_take_batch(hak_slab *slab, void **out, unsigned want) {
    const size_t size = hak_classes[slab->cls].size;
    const uint32_t words = words_of(slab);
    const uint32_t skip = HAK_POLICY_RANDOM_SLOTS ? 0 : hak_policy_slot_choice(slab, words);
    unsigned taken = 0;
    while (HAK_POLICY_RANDOM_SLOTS && taken < want && taken < slab->free)
        out[taken++] = take_random(slab);
    for (uint32_t i = 0; i < words && taken < want && taken < slab->free; i++) {
        uint32_t w = skip + i < words ? skip + i : skip + i - words;
        uint64_t bits = slab->free_bits[w];
        for (; bits != 0 && taken < want; bits &= bits - 1)
            out[taken++] = (void *)(slab->start + (w * 64 + hak_lowest_bit(bits)) * size);
        slab->free_bits[w] = bits;
    }
    slab->free -= taken;
    while (slab->first < words && slab->free_bits[slab->first] == 0)
        slab->first++;
    return taken;
}

void hak_slab_give(hak_slab *slab, void *obj) {
    const hak_class_info *info = &hak_classes[slab->cls];
    uint32_t offset = (uint32_t)((uintptr_t)obj - slab->start);
    uint32_t slot = hak_slot_index(info, offset);
    if (HAK_UNLIKELY(slot * info->size != offset || slot >= slab->slots))
        hak_die_at("interior free", "free", (uintptr_t)obj, "not the start of an object");
    uint64_t bit = (uint64_t)1 << (slot % 64);
    if (HAK_UNLIKELY(slab->free_bits[slot / 64] & bit))
        hak_die_at("double free", "free", (uintptr_t)obj, "the object is free already");
    slab->free_bits[slot / 64] |= bit;
    slab->free++;
    if (slot / 64 < slab->first)
        slab->first = (uint16_t)(slot / 64);
}

HAK_WALKER void hak_slab_check(const hak_slab *slab) {
    uint32_t ones = 0;
    for (uint32_t w = 0; w < words_of(slab); w++) {
        HAK_CHECK(w >= slab->first || slab->free_bits[w] == 0, "free slot before the first free word");
        ones += (uint32_t)__builtin_popcountll(slab->free_bits[w]);
    }
    HAK_CHECK(ones == slab->free && ones <= slab->slots, "count of free slots");
    HAK_CHECK((slab->state == HAK_SLAB_FULL) == (slab->free == 0),
              "full slab in the list, or partial one not");
}
