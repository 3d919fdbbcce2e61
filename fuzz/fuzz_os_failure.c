/* fuzz_os_failure.c: programs in which a memory call of the OS sometimes fails (FAIL_OS): a request that cannot be
 * met is refused with ENOMEM and changes nothing, and everything goes on. Each input starts with no memory from the
 * OS at all. */
#include "fuzz/engine.h"
#include "fuzz/play.h"

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    FUZZ_HEAP.reset(FUZZ_RESET_FRESH);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    static play game;
    play_begin(&game, &FUZZ_HEAP, bytes, length);
    game.os_fails = true;
    while (ops_program_next(&game.program, play_step, &game))
        ;
    (void)play_end(&game);
    play_demand(&game, "fuzz_os_failure");
    FUZZ_HEAP.reset(
        FUZZ_RESET_FRESH); /* last in its own program, so that all coverage comes from this input */
    return 0;
}
