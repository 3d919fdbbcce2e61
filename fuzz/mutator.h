/* mutator.h: changes a program of the operation language into a similar one: whole records come, go, move and get
 * the slot of another, so that most of a program stays the same. The same code serves libFuzzer, AFL++
 * (afl_mutator.c), the replay driver and the generators of tests/model. Deterministic: the result depends on the
 * arguments only. */
#ifndef FUZZ_MUTATOR_H
#define FUZZ_MUTATOR_H

#include <stddef.h>
#include <stdint.h>

/* Changes bytes[0 .. length) in place, to at most `room` bytes; returns the new length. */
size_t mutator_mutate(uint8_t *bytes, size_t length, size_t room, uint64_t seed);

/* The front of one program and the back of another; returns the length. */
size_t mutator_cross(const uint8_t *a, size_t a_length, const uint8_t *b, size_t b_length, uint8_t *out,
                     size_t room, uint64_t seed);

/* A random program of `records` records; `room` has space for them. */
size_t mutator_generate(uint8_t *bytes, size_t records, uint64_t seed);

/* splitmix64 (Steele, Lea, Flood 2014). */
uint64_t mutator_random(uint64_t *state);

#endif
