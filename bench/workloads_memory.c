/* workloads_memory.c: workloads that measure resident memory: long-lived survivors among short-lived objects, and a
 * burst that is freed. README.md describes them; workloads.h has the contract. */
#include "bench/workloads.h"

#include <malloc.h>
#include <stdlib.h>
#include <unistd.h>

enum { FRAGMENT_PHASES = 6, SURVIVOR_OF = 16 };

/* One phase: fills the slots with sizes of its own decade, then frees all but one of SURVIVOR_OF at random. The
 * survivors of a phase live through the next two. */
static void fragment_phase(void **slots, const workload_params *params, bench_rng *rng, unsigned phase) {
    workload_params sizes = *params;
    sizes.size_min = params->size_min << (phase % 3);
    sizes.size_max = params->size_max << (phase % 3);
    for (uint32_t i = 0; i < params->slots; i++)
        slots[i] = workload_new(workload_size(&sizes, bench_rng_next(rng)), &sizes);
    for (uint32_t i = 0; i < params->slots; i++) {
        if (bench_scale_high(bench_rng_next(rng), SURVIVOR_OF)) {
            free(slots[i]);
            slots[i] = NULL;
        }
    }
}

uint64_t workload_fragment(const workload_params *params, bench_result *result) {
    void **slots = bench_table(3 * params->slots * sizeof *slots);
    bench_rng rng = bench_rng_seed(params->seed);
    bench_start(result);
    for (unsigned phase = 0; phase < FRAGMENT_PHASES; phase++) {
        void **mine = slots + (phase % 3) * (size_t)params->slots;
        workload_free_all(mine, params->slots);
        fragment_phase(mine, params, &rng, phase);
        bench_phase(result);
    }
    workload_free_all(slots, 3 * (size_t)params->slots);
    bench_phase(result);
    bench_finish(result);
    return 2 * (uint64_t)FRAGMENT_PHASES * params->slots;
}

/* All memory is touched, then all is freed. Resident size at the peak, just after, a second of light work later, and
 * after malloc_trim. */
uint64_t workload_burst(const workload_params *params, bench_result *result) {
    void **slots = bench_table(params->slots * sizeof *slots);
    workload_params light = *params, burst = *params;
    light.slots = 64;
    light.ops = 1000;
    burst.all_pages = 1;
    bench_rng rng = bench_rng_seed(params->seed);
    bench_start(result);
    for (uint32_t i = 0; i < params->slots; i++)
        slots[i] = workload_new(workload_size(params, bench_rng_next(&rng)), &burst);
    bench_phase(result);
    workload_free_all(slots, params->slots);
    bench_phase(result);
    for (int i = 0; i < 10; i++) {
        workload_mixed_steps(slots, &light, &rng);
        usleep(100000);
    }
    workload_free_all(slots, light.slots);
    bench_phase(result);
    malloc_trim(0);
    bench_phase(result);
    bench_finish(result);
    return 2 * (uint64_t)params->slots + 10 * light.ops;
}
