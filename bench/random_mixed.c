/* random_mixed.c: the described system's benchmark: random_mixed OPS WORKING_SET SEED.
 *
 * Each of OPS steps picks one of WORKING_SET slots at random: a full slot is freed and emptied, an empty one gets an
 * object of 16 to 1024 bytes whose first and last byte are written. The remaining objects are freed after the
 * measurement. The allocator comes from libc or LD_PRELOAD. */
#include "bench/bench_util.h"

#include <stdlib.h>

enum { SIZE_MIN = 16, SIZE_MAX_INCLUDED = 1024 };

static void run_steps(void **slots, uint32_t working_set, uint64_t ops, uint64_t seed) {
    bench_rng rng = bench_rng_seed(seed);
    for (uint64_t i = 0; i < ops; i++) {
        uint64_t random = bench_rng_next(&rng);
        void **slot = &slots[bench_scale_low(random, working_set)];
        if (*slot) {
            free(*slot);
            *slot = NULL;
            continue;
        }
        size_t size = SIZE_MIN + bench_scale_high(random, SIZE_MAX_INCLUDED - SIZE_MIN + 1);
        void *obj = malloc(size);
        if (!obj)
            bench_die("malloc failed", "out of memory");
        bench_touch(obj, size);
        *slot = obj;
    }
}

int main(int argc, char **argv) {
    if (argc != 4)
        bench_die("usage", "random_mixed OPS WORKING_SET SEED");
    uint64_t ops = bench_number(argv[1], UINT64_MAX);
    uint32_t working_set = (uint32_t)bench_number(argv[2], UINT32_MAX);
    uint64_t seed = bench_number(argv[3], UINT64_MAX);
    if (!working_set)
        bench_die("the working set", "must not be empty");
    void **slots = bench_table(working_set * sizeof *slots);
    bench_result result;
    bench_start(&result);
    run_steps(slots, working_set, ops, seed);
    bench_finish(&result);
    for (uint32_t i = 0; i < working_set; i++)
        free(slots[i]);
    bench_print(&result, "random_mixed", ops);
    return 0;
}
