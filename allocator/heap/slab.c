/* slab.c: see slab.h. */
#include "allocator/heap/slab.h"

#include "allocator/os/os.h"
#include "allocator/os/report.h"
#include "allocator/pages/release.h"
#include "allocator/policy.h"

#include <string.h>

_Atomic uint32_t hak_slab_time;

static uint32_t words_of(const hak_slab *slab) {
    return (slab->slots + 63) / 64;
}

enum {
    /* Number of random draws before the free slots are counted: cheaper while many slots are free. */
    DRAWS = 2,
    /* A batch is drawn from a window of at least so many neighbouring free slots, if the slab has them. */
    WINDOW = 32,
};

static bool is_free(const hak_slab *slab, uint32_t slot) {
    return slab->free_bits[slot / 64] >> (slot % 64) & 1;
}

/* The free slot with `rank` free slots before it; the slab has more than `rank` free slots. */
static uint32_t free_of_rank(const hak_slab *slab, uint32_t rank) {
    uint32_t w = slab->first;
    for (uint32_t count; (count = (uint32_t)__builtin_popcountll(slab->free_bits[w])) <= rank; w++) {
        HAK_ASSERT(w + 1 < words_of(slab));
        rank -= count;
    }
    uint64_t bits = slab->free_bits[w];
    for (; rank != 0; rank--)
        bits &= bits - 1;
    return w * 64 + hak_lowest_bit(bits);
}

/* Draws one of the slab's `free` slots, uniformly. */
static uint32_t random_free(const hak_slab *slab, uint32_t free) {
    for (int i = 0; i < DRAWS; i++) {
        uint32_t slot = hak_policy_slot_choice(slab->slots);
        if (is_free(slab, slot))
            return slot;
    }
    return free_of_rank(slab, hak_policy_slot_choice(free));
}

static void *take_slot(hak_slab *slab, uint32_t slot) {
    slab->free_bits[slot / 64] &= ~((uint64_t)1 << (slot % 64));
    return (void *)(slab->start + (size_t)slot * hak_classes[slab->cls].size);
}

/* Collects the free slots of the bitmap words from `word` on, wrapping round, until there are WINDOW. Returns
 * how many. */
static uint32_t find_window(const hak_slab *slab, uint32_t word, uint16_t slots[WINDOW + 63]) {
    uint32_t count = 0, words = words_of(slab);
    for (uint32_t seen = 0; seen < words && count < WINDOW; seen++) {
        for (uint64_t bits = slab->free_bits[word]; bits != 0; bits &= bits - 1)
            slots[count++] = (uint16_t)(word * 64 + hak_lowest_bit(bits));
        word = word + 1 < words ? word + 1 : 0;
    }
    return count;
}

/* Takes up to `want` of the slab's `free` slots from a window at a random place. So objects that are made in a
 * row lie near each other, but given one of them the place of the next is guessed right at most one time in
 * WINDOW (docs/decisions/032). A single slot is drawn from the whole slab. */
static unsigned take_random(hak_slab *slab, uint32_t free, void **out, unsigned want) {
    uint32_t first = random_free(slab, free);
    if (want == 1) {
        out[0] = take_slot(slab, first);
        return 1;
    }
    uint16_t slots[WINDOW + 63];
    uint32_t count = find_window(slab, first / 64, slots);
    unsigned taken = (unsigned)hak_min(want, count);
    for (unsigned i = 0; i < taken; i++) {
        uint32_t drawn = i + hak_policy_slot_choice(count - i);
        out[i] = take_slot(slab, slots[drawn]);
        slots[drawn] = slots[i];
    }
    return taken;
}

/* Without random slots the addresses rise, and slots from slab->fresh on were never taken. Returns true when
 * all slots in out[] were never taken, so they read as zero. */
static bool note_taken(hak_slab *slab, void *const *out, unsigned taken) {
    if (HAK_POLICY_RANDOM_SLOTS || taken == 0 || slab->fresh == slab->slots)
        return false;
    const hak_class_info *info = &hak_classes[slab->cls];
    uint32_t first = hak_slot_index(info, (uint32_t)((uintptr_t)out[0] - slab->start));
    uint32_t last = hak_slot_index(info, (uint32_t)((uintptr_t)out[taken - 1] - slab->start));
    bool zeroed = first >= slab->fresh;
    slab->fresh = (uint16_t)hak_max(slab->fresh, last + 1);
    return zeroed;
}

unsigned hak_slab_take_batch(hak_slab *slab, void **out, unsigned want, bool *zeroed) {
    const size_t size = hak_classes[slab->cls].size;
    const uint32_t words = words_of(slab);
    unsigned taken = 0;
    while (HAK_POLICY_RANDOM_SLOTS && taken < want && taken < slab->free)
        taken += take_random(slab, slab->free - taken, out + taken, want - taken);
    for (uint32_t w = slab->first; w < words && taken < want && taken < slab->free; w++) {
        uint64_t bits = slab->free_bits[w];
        for (; bits != 0 && taken < want; bits &= bits - 1)
            out[taken++] = (void *)(slab->start + (w * 64 + hak_lowest_bit(bits)) * size);
        slab->free_bits[w] = bits;
    }
    slab->free -= taken;
    while (slab->first < words && slab->free_bits[slab->first] == 0)
        slab->first++;
    *zeroed = note_taken(slab, out, taken);
    slab->taken_at = atomic_load_explicit(&hak_slab_time, memory_order_relaxed);
    slab->purged = 0;
    return taken;
}

hak_slab_verdict hak_slab_give(hak_slab *slab, void *obj) {
    const hak_class_info *info = &hak_classes[slab->cls];
    uint32_t offset = (uint32_t)((uintptr_t)obj - slab->start);
    uint32_t slot = hak_slot_index(info, offset);
    if (HAK_UNLIKELY(slot * info->size != offset || !hak_slab_has(slab, slot)))
        return HAK_SLAB_INTERIOR;
    uint64_t bit = (uint64_t)1 << (slot % 64);
    if (HAK_UNLIKELY(slab->free_bits[slot / 64] & bit))
        return HAK_SLAB_DOUBLE;
    slab->free_bits[slot / 64] |= bit;
    slab->free++;
    if (slot / 64 < slab->first)
        slab->first = (uint16_t)(slot / 64);
    return HAK_SLAB_GIVEN;
}

void hak_slab_take_free(hak_slab *slab, hak_slab_part *part) {
    part->count = slab->free;
    memset(part->bits, 0, sizeof part->bits);
    memcpy(part->bits, slab->free_bits, words_of(slab) * sizeof part->bits[0]);
    memset(slab->free_bits, 0, words_of(slab) * sizeof part->bits[0]);
    slab->free = 0;
    slab->first = (uint16_t)words_of(slab);
}

/* Purges the whole pages within slots [from, to). */
static void purge_slots(const hak_slab *slab, uint32_t from, uint32_t to) {
    size_t size = hak_classes[slab->cls].size;
    uintptr_t start = hak_align_up(slab->start + from * size, hak_os_page);
    uintptr_t end = hak_align_down(slab->start + to * size, hak_os_page);
    if (start < end)
        (void)hak_release_range(start, end - start);
}

static bool part_has(const hak_slab_part *part, uint32_t slot) {
    return part != NULL && (part->bits[slot / 64] >> (slot % 64) & 1) != 0;
}

void hak_slab_purge_part(const hak_slab *slab, const hak_slab_part *part, const hak_slab_part *also) {
    uint32_t from = 0;
    bool inside = false;
    for (uint32_t slot = 0; slot <= slab->slots; slot++) {
        bool is_in = slot < slab->slots && (part_has(part, slot) || part_has(also, slot));
        if (is_in && !inside)
            from = slot;
        if (!is_in && inside)
            purge_slots(slab, from, slot);
        inside = is_in;
    }
}

void hak_slab_give_free(hak_slab *slab, const hak_slab_part *part) {
    for (uint32_t w = 0; w < words_of(slab); w++)
        slab->free_bits[w] |= part->bits[w];
    slab->free += part->count;
    slab->purged = (uint16_t)hak_max(1, part->count);
    slab->first = 0;
    while (slab->first < words_of(slab) && slab->free_bits[slab->first] == 0)
        slab->first++;
}

void hak_slab_blame(hak_slab_verdict verdict, const void *obj) {
    if (verdict == HAK_SLAB_INTERIOR)
        hak_die_at("interior free", "free", (uintptr_t)obj, "not the start of an object");
    if (verdict == HAK_SLAB_DOUBLE)
        hak_die_at("double free", "free", (uintptr_t)obj, "the object is free already");
    hak_die("corrupt metadata", "cached object has no slab");
}

HAK_WALKER void hak_slab_check(const hak_slab *slab) {
    uint32_t ones = 0;
    for (uint32_t w = 0; w < words_of(slab); w++) {
        HAK_CHECK(w >= slab->first || slab->free_bits[w] == 0, "free slot before the first free word");
        ones += (uint32_t)__builtin_popcountll(slab->free_bits[w]);
    }
    HAK_CHECK(ones == slab->free && ones <= hak_slab_all(slab), "count of free slots");
    HAK_CHECK((slab->state == HAK_SLAB_FULL) == (slab->free == 0),
              "full slab in the list, or partial one not");
}
