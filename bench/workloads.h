/* workloads.h: the measured workloads, one function each; workloads_main.c picks one by name.
 *
 * A workload does a fixed amount of work for its parameters (equal seeds: equal request sequences, as far as threads
 * do not race), brackets the measured part with bench_start/bench_finish and returns the number of its operations:
 * one malloc, realloc or free each unless README.md says otherwise. README.md describes every workload in words. */
#ifndef HAK_BENCH_WORKLOADS_H
#define HAK_BENCH_WORKLOADS_H

#include "bench/bench_util.h"

typedef struct workload_params {
    uint64_t ops;       /* steps; each workload defines its step */
    uint32_t slots;     /* the working set, per thread */
    uint32_t size_min;  /* bytes */
    uint32_t size_max;  /* bytes, included */
    uint32_t threads;   /* at least 1 */
    uint32_t all_pages; /* 1: touch every page of an object, 0: its first and last byte */
    uint64_t seed;
    const char *file; /* a recorded trace, or NULL */
} workload_params;

typedef uint64_t workload_function(const workload_params *params, bench_result *result);

/* workloads_single.c */
workload_function workload_mixed, workload_realloc, workload_batch, workload_lifo, workload_grow;
/* workloads_threads.c */
workload_function workload_mixed_threads, workload_shared_slots, workload_larson, workload_exit_storm;
/* workloads_sharing.c */
workload_function workload_queue, workload_cache_scratch, workload_cache_thrash;
/* workloads_memory.c */
workload_function workload_fragment, workload_burst;
/* workloads_life.c */
workload_function workload_life_phases, workload_life_drift, workload_life_idle, workload_life_streams,
    workload_life_sparse;
workload_function workload_life_calloc, workload_life_freed, workload_life_quiet, workload_life_powers;
/* workloads_latency.c */
workload_function workload_latency_soak, workload_latency_burst;
/* workloads_heap.c */
workload_function workload_heap;
/* workloads_trace.c */
workload_function workload_replay, workload_sizes;

/* One JSON line about the recorded trace at `path`, to stdout. */
void workload_describe(const char *path);

/* malloc that may not fail, with its ends (or all of its pages) written. */
void *workload_new(size_t size, const workload_params *params);

/* A size between the bounds from the high half of `random`. */
static inline size_t workload_size(const workload_params *params, uint64_t random) {
    return params->size_min + bench_scale_high(random, params->size_max - params->size_min + 1);
}

/* The inner loop of the mixed workloads on one thread's own slots. */
void workload_mixed_steps(void **slots, const workload_params *params, bench_rng *rng);
void workload_free_all(void **slots, size_t count);

/* Runs `body(argument i)` on params->threads threads at once and waits for all; argument_bytes apart. */
void workload_run_threads(uint32_t threads, void *(*body)(void *), void *arguments, size_t argument_bytes);

#endif /* HAK_BENCH_WORKLOADS_H */
