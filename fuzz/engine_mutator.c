/* engine_mutator.c: mutator.h under the names by which libFuzzer and the replay driver call it. */
#include "fuzz/engine.h"
#include "fuzz/mutator.h"

size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t length, size_t room, unsigned seed) {
    /* Sometimes without structure, so that the decoder sees every kind of bytes. */
    if (LLVMFuzzerMutate != NULL && seed % 16 == 0)
        return LLVMFuzzerMutate(bytes, length, room);
    return mutator_mutate(bytes, length, room, seed);
}

size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_length, const uint8_t *b, size_t b_length,
                                 uint8_t *out, size_t room, unsigned seed) {
    return mutator_cross(a, a_length, b, b_length, out, room, seed);
}
