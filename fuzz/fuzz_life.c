/* fuzz_life.c: programs with whole lives: phases, time that passes, children, exits, an OS that refuses memory for a
 * while. The rules are those of fuzz_ops; and no correct program is reported when it ends. */
#include "fuzz/engine.h"
#include "fuzz/play.h"

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    FUZZ_HEAP.reset(FUZZ_RESET_KEPT);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    static play game;
    (void)play_life(&game, &FUZZ_HEAP, bytes, length, true);
    play_demand(&game, "fuzz_life");
    FUZZ_HEAP.reset(
        FUZZ_RESET_KEPT); /* last in its own program, so that all coverage comes from this input */
    return 0;
}
