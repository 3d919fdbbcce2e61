/* prove_slab.c: allocator/heap/slab.c, from any consistent state of a slab of two words. Stubs that return any value
 * replace the layers below it. */
#include "proofs/proofs.h"

#include "allocator/heap/slab.c"

enum { SIZE = 48, SLOTS = 100, WORDS = 2, WANT = 3 };

static uint64_t bits[WORDS];
static hak_slab slab;
hak_class_info hak_classes[HAK_TAGS];

static uint32_t ones(void) {
    return (uint32_t)__builtin_popcountll(bits[0]) + (uint32_t)__builtin_popcountll(bits[1]);
}

static bool consistent(void) {
    return slab.free == ones() && (slab.first == 0 || bits[0] == 0) && (slab.first < 2 || bits[1] == 0) &&
           slab.first <= WORDS && bits[1] >> (SLOTS - 64) == 0;
}

static void any_state(void) {
    slab.cls = 3;
    slab.start = (uintptr_t)1 << 30;
    slab.slots = SLOTS;
    slab.free_bits = bits;
    bits[0] = nondet_u64();
    bits[1] = nondet_u64();
    slab.free = nondet_u16();
    slab.first = nondet_u16();
    slab.fresh = SLOTS;
    hak_classes[3] =
        (hak_class_info){.size = SIZE, .reciprocal = ((1ull << 40) + SIZE - 1) / SIZE, .slots = SLOTS};
    ASSUME(consistent());
}

static bool was_free(const uint64_t before[WORDS], uintptr_t obj) {
    uintptr_t slot = (obj - slab.start) / SIZE;
    return (obj - slab.start) % SIZE == 0 && slot < SLOTS && (before[slot / 64] >> (slot % 64) & 1) != 0;
}

/* Proves: what is taken was free, each slot once, as many as there are and are wanted; the state stays consistent
 * For: any state of 100 slots, up to 3 wanted
 * Mutant: slab_take_keeps_bits
 * Flags: --unwind 5 --no-standard-checks */
void prove_take(void) {
    any_state();
    const uint64_t before[WORDS] = {bits[0], bits[1]};
    uint32_t had = slab.free;
    void *out[WANT];
    bool zeroed;
    unsigned want = nondet_unsigned();
    ASSUME(want >= 1 && want <= WANT);
    unsigned taken = hak_slab_take_batch(&slab, out, want, &zeroed);
    PROVE(taken == (had < want ? had : want));
    for (unsigned i = 0; i < WANT; i++)
        for (unsigned k = 0; k < i; k++)
            PROVE(i >= taken || out[i] != out[k]);
    for (unsigned i = 0; i < WANT; i++)
        PROVE(i >= taken || (was_free(before, (uintptr_t)out[i]) && !was_free(bits, (uintptr_t)out[i])));
    PROVE(consistent() && slab.free == had - taken);
}

/* Proves: only the start of a slot that is not free comes back; what does not changes nothing
 * For: any state of 100 slots, any address of the slab
 * Mutant: slab_double_free_unseen
 * Flags: --unwind 5 --no-standard-checks */
void prove_give(void) {
    any_state();
    const uint64_t before[WORDS] = {bits[0], bits[1]};
    uint32_t had = slab.free, offset = nondet_u32();
    ASSUME(offset < 65536);
    uintptr_t obj = slab.start + offset;
    bool starts = offset % SIZE == 0 && offset / SIZE < SLOTS, free = starts && was_free(before, obj);
    hak_slab_verdict verdict = hak_slab_give(&slab, (void *)obj);
    PROVE(verdict == (!starts ? HAK_SLAB_INTERIOR : free ? HAK_SLAB_DOUBLE : HAK_SLAB_GIVEN));
    PROVE(verdict == HAK_SLAB_GIVEN ? slab.free == had + 1 && was_free(bits, obj)
                                    : slab.free == had && bits[0] == before[0] && bits[1] == before[1]);
    PROVE(consistent());
}
