/* afl_mutator.c: mutator.h as a custom-mutator library of AFL++ (AFL_CUSTOM_MUTATOR_LIBRARY). The names and their
 * meaning are those of AFL++'s docs/custom_mutators.md. */
#include <stdlib.h>

#include "fuzz/mutator.h"

typedef struct afl_state {
    uint64_t random;
    uint8_t *out;
    size_t room;
} afl_state;

void *afl_custom_init(void *afl, unsigned seed);
void afl_custom_deinit(void *data);
size_t afl_custom_fuzz(void *data, uint8_t *bytes, size_t length, uint8_t **out, uint8_t *other,
                       size_t other_length, size_t room);

void *afl_custom_init(void *afl, unsigned seed) {
    (void)afl;
    afl_state *state = calloc(1, sizeof *state);
    if (state != NULL)
        state->random = seed;
    return state;
}

void afl_custom_deinit(void *data) {
    afl_state *state = data;
    free(state->out);
    free(state);
}

/* Returns 0, which AFL++ takes for "skip this one", when there is no memory. */
size_t afl_custom_fuzz(void *data, uint8_t *bytes, size_t length, uint8_t **out, uint8_t *other,
                       size_t other_length, size_t room) {
    afl_state *state = data;
    if (state->room < room) {
        free(state->out);
        state->out = malloc(room);
        state->room = state->out != NULL ? room : 0;
    }
    if (state->out == NULL)
        return 0;
    uint64_t seed = mutator_random(&state->random);
    if (other != NULL && other_length != 0 && seed % 8 == 0)
        length = mutator_cross(bytes, length, other, other_length, state->out, room, seed);
    else {
        length = length < room ? length : room;
        for (size_t i = 0; i < length; i++)
            state->out[i] = bytes[i];
    }
    *out = state->out;
    return mutator_mutate(state->out, length, room, seed);
}
