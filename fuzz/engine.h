/* engine.h: what a fuzzing engine calls in a target, by libFuzzer's names: AFL++, honggfuzz and centipede use them
 * as well. */
#ifndef FUZZ_ENGINE_H
#define FUZZ_ENGINE_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);
int LLVMFuzzerInitialize(int *argc, char ***argv);
size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t length, size_t room, unsigned seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_length, const uint8_t *b, size_t b_length,
                                 uint8_t *out, size_t room, unsigned seed);

/* libFuzzer's own mutations of bytes; absent under other engines. */
size_t LLVMFuzzerMutate(uint8_t *bytes, size_t length, size_t room) __attribute__((weak));

#endif
