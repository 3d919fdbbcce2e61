/* workloads_sharing.c: workloads in which threads pass objects in batches (producer and consumer) or write to objects
 * that may share a cache line. README.md describes them; workloads.h has the contract.
 * */
#include "bench/workloads.h"

#include <pthread.h>
#include <stdlib.h>

enum { QUEUE_BATCH = 120, QUEUE_MAX = 64 };

typedef struct queue {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    void **batches; /* QUEUE_MAX batches of QUEUE_BATCH objects */
    uint32_t filled;
    uint32_t producers; /* still running */
} queue;

typedef struct queue_worker {
    const workload_params *params;
    queue *queue;
    uint64_t seed;
    int produces;
} queue_worker;

static void queue_give(queue *queue, void *const *objects) {
    pthread_mutex_lock(&queue->lock);
    while (queue->filled == QUEUE_MAX)
        pthread_cond_wait(&queue->changed, &queue->lock);
    for (int i = 0; i < QUEUE_BATCH; i++)
        queue->batches[queue->filled * QUEUE_BATCH + i] = objects[i];
    queue->filled++;
    pthread_cond_broadcast(&queue->changed);
    pthread_mutex_unlock(&queue->lock);
}

/* 0 when the producers have ended and nothing is left. */
static int queue_take(queue *queue, void **objects) {
    pthread_mutex_lock(&queue->lock);
    while (!queue->filled && queue->producers)
        pthread_cond_wait(&queue->changed, &queue->lock);
    int taken = queue->filled > 0;
    if (taken) {
        queue->filled--;
        for (int i = 0; i < QUEUE_BATCH; i++)
            objects[i] = queue->batches[queue->filled * QUEUE_BATCH + i];
        pthread_cond_broadcast(&queue->changed);
    }
    pthread_mutex_unlock(&queue->lock);
    return taken;
}

static void queue_produce(const queue_worker *me) {
    bench_rng rng = bench_rng_seed(me->seed);
    void *objects[QUEUE_BATCH];
    for (uint64_t i = 0; i < me->params->ops / QUEUE_BATCH; i++) {
        for (int k = 0; k < QUEUE_BATCH; k++)
            objects[k] = workload_new(workload_size(me->params, bench_rng_next(&rng)), me->params);
        queue_give(me->queue, objects);
    }
    pthread_mutex_lock(&me->queue->lock);
    me->queue->producers--;
    pthread_cond_broadcast(&me->queue->changed);
    pthread_mutex_unlock(&me->queue->lock);
}

static void *queue_body(void *argument) {
    const queue_worker *me = argument;
    void *objects[QUEUE_BATCH];
    if (me->produces)
        queue_produce(me);
    else
        while (queue_take(me->queue, objects))
            workload_free_all(objects, QUEUE_BATCH);
    return NULL;
}

uint64_t workload_queue(const workload_params *params, bench_result *result) {
    uint32_t producers = (params->threads + 1) / 2, threads = producers * 2;
    queue queue = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    queue.batches = bench_table(sizeof(void *) * QUEUE_MAX * QUEUE_BATCH);
    queue.producers = producers;
    queue_worker *workers = bench_table(threads * sizeof *workers);
    for (uint32_t i = 0; i < threads; i++)
        workers[i] = (queue_worker){params, &queue, params->seed + i, i % 2 == 0};
    bench_start(result);
    workload_run_threads(threads, queue_body, workers, sizeof *workers);
    bench_finish(result);
    return params->ops / QUEUE_BATCH * QUEUE_BATCH * 2 * producers;
}

enum { WRITES_PER_OBJECT = 1000 };

typedef struct scratch_worker {
    const workload_params *params;
    void *given; /* an object of the main thread, or NULL */
} scratch_worker;

static void *scratch_body(void *argument) {
    scratch_worker *me = argument;
    free(me->given);
    for (uint64_t i = 0; i < me->params->ops / 2; i++) {
        volatile unsigned char *obj = workload_new(me->params->size_min, me->params);
        for (int k = 0; k < WRITES_PER_OBJECT; k++)
            obj[k % 8]++;
        free((void *)obj);
    }
    return NULL;
}

/* `given`: each thread first frees an object of the main thread, a neighbour of the others' objects. An allocator
 * that then reuses it for that thread makes the threads share a cache line passively. */
static uint64_t sharing(const workload_params *params, bench_result *result, int given) {
    scratch_worker *workers = bench_table(params->threads * sizeof *workers);
    for (uint32_t i = 0; i < params->threads; i++) {
        workers[i].params = params;
        workers[i].given = given ? workload_new(params->size_min, params) : NULL;
    }
    bench_start(result);
    workload_run_threads(params->threads, scratch_body, workers, sizeof *workers);
    bench_finish(result);
    return params->ops / 2 * 2 * params->threads;
}

uint64_t workload_cache_scratch(const workload_params *params, bench_result *result) {
    return sharing(params, result, 1);
}

uint64_t workload_cache_thrash(const workload_params *params, bench_result *result) {
    return sharing(params, result, 0);
}
