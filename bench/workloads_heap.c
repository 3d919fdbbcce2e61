/* workloads_heap.c: how cost grows with the heap: workload a's steps on a window that moves over a heap of any size.
 * README.md describes it; workloads.h has the contract. */
#define _GNU_SOURCE
#include "bench/workloads.h"

#include "include/hakmem.h"

#include <dlfcn.h>
#include <stdlib.h>

/* Long enough that the steps dominate, not the cache misses of a new window, which the limit allocator has as well. */
enum { WINDOW_SLOTS = 400, WINDOW_STEPS = 16384 };

/* Fills every second slot of the heap at random. Returns the requested bytes. */
static uint64_t heap_fill(void **slots, const workload_params *params, bench_rng *rng) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < params->slots; i++) {
        uint64_t random = bench_rng_next(rng);
        if (random & 1)
            continue;
        size_t size = workload_size(params, random);
        slots[i] = workload_new(size, params);
        bytes += size;
    }
    return bytes;
}

/* The size of hakmem's own tables, as it reports it; 0 for another allocator, or for one that is linked in
 * statically. */
static uint64_t metadata_bytes(void) {
    typedef void stats_function(hak_stats * out);
    hak_stats stats;
    stats_function *read = (stats_function *)dlsym(RTLD_DEFAULT, "hak_stats_read");
    if (!read)
        return 0;
    read(&stats);
    return stats.metadata_bytes;
}

/* The remaining objects are not freed: at 8 GiB that would take longer than the measurement. */
uint64_t workload_heap(const workload_params *params, bench_result *result) {
    void **slots = bench_table(params->slots * sizeof *slots);
    workload_params window = *params;
    window.slots = params->slots < WINDOW_SLOTS ? params->slots : WINDOW_SLOTS;
    window.ops = WINDOW_STEPS;
    bench_rng rng = bench_rng_seed(params->seed);
    bench_result fill;
    bench_start(&fill);
    uint64_t live = heap_fill(slots, params, &rng);
    bench_finish(&fill);
    bench_start(result);
    for (uint64_t done = 0; done < params->ops; done += WINDOW_STEPS) {
        uint32_t first = bench_scale_high(bench_rng_next(&rng), params->slots - window.slots + 1);
        workload_mixed_steps(slots + first, &window, &rng);
    }
    bench_finish(result);
    bench_phase(result);
    result->fill_seconds = fill.cpu_seconds;
    result->live_kib = (long)(live >> 10);
    result->metadata_kib = (long)(metadata_bytes() >> 10);
    return (params->ops + WINDOW_STEPS - 1) / WINDOW_STEPS * WINDOW_STEPS;
}
