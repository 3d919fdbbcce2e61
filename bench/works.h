/* works.h: the measured works, one function each; works_main.c picks one by name.
 *
 * A work does a fixed amount of work for its parameters (equal seeds: equal request sequences, as far as threads
 * do not race), brackets the measured part with bench_start/bench_finish and returns the operations it did: one
 * malloc, realloc or free each unless README.md says otherwise. README.md describes every work in words.
 */
#ifndef HAK_BENCH_WORKS_H
#define HAK_BENCH_WORKS_H

#include "bench/bench_util.h"

typedef struct work_params {
    uint64_t ops;       /* steps; what a step is, is the work's own affair */
    uint32_t slots;     /* the working set, per thread */
    uint32_t size_min;  /* bytes */
    uint32_t size_max;  /* bytes, included */
    uint32_t threads;   /* at least 1 */
    uint32_t all_pages; /* 1: touch every page of an object, 0: its first and last byte */
    uint64_t seed;
    const char *file; /* a recorded trace, or NULL */
} work_params;

typedef uint64_t work_function(const work_params *params, bench_result *result);

/* works_single.c */
work_function work_mixed, work_realloc, work_batch, work_lifo, work_grow;
/* works_threads.c */
work_function work_mixed_threads, work_shared_slots, work_larson, work_exit_storm;
/* works_sharing.c */
work_function work_queue, work_cache_scratch, work_cache_thrash;
/* works_memory.c */
work_function work_fragment, work_burst;
/* works_life.c */
work_function work_life_phases, work_life_drift, work_life_idle, work_life_streams, work_life_sparse;
work_function work_life_calloc, work_life_freed, work_life_quiet, work_life_powers;
/* works_heap.c */
work_function work_heap;
/* works_trace.c */
work_function work_replay, work_sizes;

/* One JSON line about the recorded trace at `path`, to stdout. */
void work_describe(const char *path);

/* malloc that may not fail, with its ends (or all of its pages) written. */
void *work_new(size_t size, const work_params *params);

/* A size between the bounds from the high half of `random`. */
static inline size_t work_size(const work_params *params, uint64_t random) {
    return params->size_min + bench_scale_high(random, params->size_max - params->size_min + 1);
}

/* The inner loop of the mixed works on one thread's own slots. */
void work_mixed_steps(void **slots, const work_params *params, bench_rng *rng);
void work_free_all(void **slots, size_t count);

/* Runs `body(argument i)` on params->threads threads at once and waits for all; argument_bytes apart. */
void work_run_threads(uint32_t threads, void *(*body)(void *), void *arguments, size_t argument_bytes);

#endif /* HAK_BENCH_WORKS_H */
