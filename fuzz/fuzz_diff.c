/* fuzz_diff.c: the same program on both variants, side by side in one process. Each is verified by its own shadow
 * model, and each call must give the program the same result. Only usable sizes may differ, in one direction. */
#include <stdio.h>
#include <stdlib.h>

#include "fuzz/engine.h"
#include "fuzz/ops_print.h"
#include "fuzz/play.h"

typedef struct pair {
    play speed, hardened;
} pair;

/* The rule of the comparison that was broken, or NULL. */
static const char *compare(const play_answer *speed, const play_answer *hardened) {
    if (speed->made != hardened->made)
        return "one variant gave an object, the other did not";
    if (speed->error != hardened->error)
        return "the variants say different errors";
    if (speed->usable < hardened->usable)
        return "the speed variant says a smaller usable size";
    return NULL;
}

static bool step_both(void *context, const ops_step *step) {
    pair *both = context;
    if (!play_step(&both->speed, step) || !play_step(&both->hardened, step))
        return false;
    return play_verify(&both->speed, step, compare(&both->speed.answer, &both->hardened.answer));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    static pair both;
    fuzz_heap_speed.reset(FUZZ_RESET_KEPT);
    fuzz_heap_hardened.reset(FUZZ_RESET_KEPT);
    play_begin(&both.speed, &fuzz_heap_speed, bytes, length);
    play_begin(&both.hardened, &fuzz_heap_hardened, bytes, length);
    while (ops_program_next(&both.speed.program, step_both, &both))
        ;
    if (both.speed.broken == NULL && both.hardened.broken == NULL && play_end(&both.speed))
        (void)play_end(&both.hardened);
    play_demand(&both.speed, "fuzz_diff");
    play_demand(&both.hardened, "fuzz_diff");
    return 0;
}
