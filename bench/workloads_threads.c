/* workloads_threads.c: workloads of several threads that exchange objects through slots: independent, shared,
 * larson-like server churn, and thread-exit storms. README.md describes them; workloads.h has the contract.
 * */
#include "bench/workloads.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS_MAX = 256 };

void workload_run_threads(uint32_t threads, void *(*body)(void *), void *arguments, size_t argument_bytes) {
    pthread_t ids[THREADS_MAX];
    if (threads > THREADS_MAX)
        bench_die("threads", "too many");
    for (uint32_t i = 0; i < threads; i++)
        if (pthread_create(&ids[i], NULL, body, (char *)arguments + i * argument_bytes))
            bench_die("pthread_create", "failed");
    for (uint32_t i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
}

typedef struct worker {
    const workload_params *params;
    _Atomic(void *) *shared; /* slots of all threads */
    void **own;              /* slots of this thread */
    bench_rng rng;
    uint64_t done;
} worker;

static worker *workers_born(const workload_params *params, size_t own_slots, size_t shared_slots) {
    worker *workers = bench_table(params->threads * sizeof *workers);
    _Atomic(void *) *shared = bench_table(shared_slots * sizeof *shared);
    for (uint32_t i = 0; i < params->threads; i++) {
        workers[i].params = params;
        workers[i].shared = shared;
        workers[i].own = bench_table(own_slots * sizeof(void *));
        workers[i].rng = bench_rng_seed(params->seed + i);
    }
    return workers;
}

static uint64_t workers_run(const workload_params *params, worker *workers, void *(*body)(void *),
                            bench_result *result) {
    bench_start(result);
    workload_run_threads(params->threads, body, workers, sizeof *workers);
    bench_finish(result);
    uint64_t done = 0;
    for (uint32_t i = 0; i < params->threads; i++)
        done += workers[i].done;
    return done;
}

static void *mixed_body(void *argument) {
    worker *me = argument;
    workload_mixed_steps(me->own, me->params, &me->rng);
    workload_free_all(me->own, me->params->slots);
    me->done = me->params->ops;
    return NULL;
}

uint64_t workload_mixed_threads(const workload_params *params, bench_result *result) {
    return workers_run(params, workers_born(params, params->slots, 1), mixed_body, result);
}

/* One step of eight stays in the thread's own slots, so of two threads' frees 7/16 = 44 % are remote. */
static void *shared_body(void *argument) {
    worker *me = argument;
    for (uint64_t i = 0; i < me->params->ops; i++) {
        uint64_t random = bench_rng_next(&me->rng);
        uint32_t which = bench_scale_low(random, me->params->slots);
        void *given = (random >> 20) & 1 ? workload_new(workload_size(me->params, random), me->params) : NULL;
        void *found;
        if ((random >> 21) & 7) {
            found = atomic_exchange_explicit(&me->shared[which], given, memory_order_acq_rel);
        } else {
            found = me->own[which];
            me->own[which] = given;
        }
        me->done += (given != NULL) + (found != NULL);
        free(found);
    }
    workload_free_all(me->own, me->params->slots);
    return NULL;
}

uint64_t workload_shared_slots(const workload_params *params, bench_result *result) {
    worker *workers = workers_born(params, params->slots, params->slots);
    uint64_t done = workers_run(params, workers, shared_body, result);
    for (uint32_t i = 0; i < params->slots; i++)
        free(workers->shared[i]);
    return done;
}

enum { LARSON_LIVES = 32 }; /* a server thread hands its objects to its successor this many times */

static void *larson_life(void *argument) {
    worker *me = argument;
    uint64_t steps = me->params->ops / LARSON_LIVES;
    for (uint64_t i = 0; i < steps; i++) {
        uint64_t random = bench_rng_next(&me->rng);
        void **slot = &me->own[bench_scale_low(random, me->params->slots)];
        free(*slot);
        *slot = workload_new(workload_size(me->params, random), me->params);
    }
    me->done += 2 * steps;
    return NULL;
}

static void *larson_line(void *argument) {
    for (int i = 0; i < LARSON_LIVES; i++)
        workload_run_threads(1, larson_life, argument, 0);
    return NULL;
}

uint64_t workload_larson(const workload_params *params, bench_result *result) {
    worker *workers = workers_born(params, params->slots, 1);
    uint64_t done = workers_run(params, workers, larson_line, result);
    for (uint32_t i = 0; i < params->threads; i++)
        workload_free_all(workers[i].own, params->slots);
    return done;
}

/* A short life: fills its slots, frees every second one, and leaves the others to a later thread. */
static void *storm_life(void *argument) {
    worker *me = argument;
    for (uint32_t i = 0; i < me->params->slots; i++)
        me->own[i] = workload_new(workload_size(me->params, bench_rng_next(&me->rng)), me->params);
    for (uint32_t i = 0; i < me->params->slots; i += 2) {
        free(me->own[i]);
        me->own[i] = NULL;
    }
    return NULL;
}

uint64_t workload_exit_storm(const workload_params *params, bench_result *result) {
    worker *workers = workers_born(params, params->slots, 1);
    uint64_t lives = params->ops / (2 * (uint64_t)params->slots * params->threads);
    bench_start(result);
    for (uint64_t life = 0; life < lives; life++) {
        workload_run_threads(params->threads, storm_life, workers, sizeof *workers);
        for (uint32_t i = 0; i < params->threads; i++)
            workload_free_all(workers[i].own, params->slots);
    }
    bench_finish(result);
    return lives * 2 * params->slots * params->threads;
}
