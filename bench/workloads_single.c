/* workloads_single.c: the single-threaded workloads: mixed, realloc, batches, last in first out, growth. README.md
 * describes them; workloads.h has the contract.
 */
#include "bench/workloads.h"

#include <stdlib.h>
#include <string.h>

enum { PAGE_BYTES = 4096 };

void *workload_new(size_t size, const workload_params *params) {
    unsigned char *obj = malloc(size);
    if (!obj)
        bench_die("malloc failed", "out of memory");
    if (params->all_pages)
        for (size_t at = 0; at < size; at += PAGE_BYTES)
            ((volatile unsigned char *)obj)[at] = 1;
    bench_touch(obj, size);
    return obj;
}

void workload_mixed_steps(void **slots, const workload_params *params, bench_rng *rng) {
    for (uint64_t i = 0; i < params->ops; i++) {
        uint64_t random = bench_rng_next(rng);
        void **slot = &slots[bench_scale_low(random, params->slots)];
        if (*slot) {
            free(*slot);
            *slot = NULL;
        } else {
            *slot = workload_new(workload_size(params, random), params);
        }
    }
}

void workload_free_all(void **slots, size_t count) {
    for (size_t i = 0; i < count; i++) {
        free(slots[i]);
        slots[i] = NULL;
    }
}

uint64_t workload_mixed(const workload_params *params, bench_result *result) {
    void **slots = bench_table(params->slots * sizeof *slots);
    bench_rng rng = bench_rng_seed(params->seed);
    bench_start(result);
    workload_mixed_steps(slots, params, &rng);
    bench_finish(result);
    workload_free_all(slots, params->slots);
    return params->ops;
}

/* Of the steps that meet a full slot, three of four resize it and one frees it. */
static void realloc_steps(void **slots, const workload_params *params, bench_rng *rng) {
    for (uint64_t i = 0; i < params->ops; i++) {
        uint64_t random = bench_rng_next(rng);
        void **slot = &slots[bench_scale_low(random, params->slots)];
        size_t size = workload_size(params, random);
        if (!*slot) {
            *slot = workload_new(size, params);
        } else if ((random >> 20) & 3) {
            void *moved = realloc(*slot, size);
            if (!moved)
                bench_die("realloc failed", "out of memory");
            bench_touch(moved, size);
            *slot = moved;
        } else {
            free(*slot);
            *slot = NULL;
        }
    }
}

uint64_t workload_realloc(const workload_params *params, bench_result *result) {
    void **slots = bench_table(params->slots * sizeof *slots);
    bench_rng rng = bench_rng_seed(params->seed);
    bench_start(result);
    realloc_steps(slots, params, &rng);
    bench_finish(result);
    workload_free_all(slots, params->slots);
    return params->ops;
}

enum { BATCH_PLANS = 16 }; /* orders of freeing, drawn beforehand so that the loop only allocates and frees */

typedef struct batch_plan {
    uint32_t *sizes; /* slots of them */
    uint32_t *order; /* a permutation of 0..slots-1 */
} batch_plan;

static void batch_plan_draw(batch_plan *plan, const workload_params *params, bench_rng *rng) {
    plan->sizes = bench_table(params->slots * sizeof *plan->sizes);
    plan->order = bench_table(params->slots * sizeof *plan->order);
    for (uint32_t i = 0; i < params->slots; i++) {
        plan->sizes[i] = (uint32_t)workload_size(params, bench_rng_next(rng));
        uint32_t other = bench_scale_high(bench_rng_next(rng), i + 1);
        plan->order[i] = plan->order[other];
        plan->order[other] = i;
    }
}

static void batch_run(void **slots, const batch_plan *plan, const workload_params *params) {
    for (uint32_t i = 0; i < params->slots; i++)
        slots[i] = workload_new(plan->sizes[i], params);
    for (uint32_t i = 0; i < params->slots; i++)
        free(slots[plan->order[i]]);
}

uint64_t workload_batch(const workload_params *params, bench_result *result) {
    void **slots = bench_table(params->slots * sizeof *slots);
    batch_plan plans[BATCH_PLANS];
    bench_rng rng = bench_rng_seed(params->seed);
    for (int i = 0; i < BATCH_PLANS; i++)
        batch_plan_draw(&plans[i], params, &rng);
    uint64_t rounds = params->ops / (2 * params->slots);
    bench_start(result);
    for (uint64_t i = 0; i < rounds; i++)
        batch_run(slots, &plans[i % BATCH_PLANS], params);
    bench_finish(result);
    return rounds * 2 * params->slots;
}

uint64_t workload_lifo(const workload_params *params, bench_result *result) {
    size_t size = params->size_min;
    bench_start(result);
    for (uint64_t i = 0; i < params->ops / 2; i++)
        free(workload_new(size, params));
    bench_finish(result);
    return params->ops / 2 * 2;
}

/* Vectors that grow by half, as C++ and Rust vectors and string builders do, a few at a time. */
uint64_t workload_grow(const workload_params *params, bench_result *result) {
    void **slots = bench_table(params->slots * sizeof *slots);
    size_t *sizes = bench_table(params->slots * sizeof *sizes);
    bench_rng rng = bench_rng_seed(params->seed);
    bench_start(result);
    for (uint64_t i = 0; i < params->ops; i++) {
        uint32_t which = bench_scale_low(bench_rng_next(&rng), params->slots);
        size_t size = sizes[which] ? sizes[which] + sizes[which] / 2 : params->size_min;
        if (size > params->size_max) {
            free(slots[which]);
            slots[which] = NULL;
            sizes[which] = 0;
            continue;
        }
        slots[which] = realloc(slots[which], size);
        if (!slots[which])
            bench_die("realloc failed", "out of memory");
        memset((char *)slots[which] + sizes[which], 1, size - sizes[which]);
        sizes[which] = size;
    }
    bench_finish(result);
    workload_free_all(slots, params->slots);
    return params->ops;
}
