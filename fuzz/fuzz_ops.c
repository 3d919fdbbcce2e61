/* fuzz_ops.c: programs of the operation language on one variant, FUZZ_HEAP, verified by the shadow model. */
#include "fuzz/engine.h"
#include "fuzz/play.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    static play game;
    (void)play_all(&game, &FUZZ_HEAP, bytes, length);
    play_demand(&game, "fuzz_ops");
    return 0;
}
