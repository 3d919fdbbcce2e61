/* workloads_life.c: lives of processes, as workloads whose result is resident memory: live objects come and go, in
 * sizes, threads, time. README.md describes them; workloads.h has the contract. Each phase of the result is one
 * reading of the resident size. slots: MiB that are live, or objects, or threads, as README.md says. */
#include "bench/workloads.h"

#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    KIB = 1024,
    MIB = 1024 * KIB,
    PAGE = 4096,
    BANDS = 12,
    SIZE_LEAST = 64, /* of the bands: 64 bytes to 256 KiB, in steps of a doubling */
    BATCH = 64,
    QUIET_STEPS = 120, /* of a tenth of a second: longer than any allocator waits */
};

static void *touched(size_t size) {
    char *obj = malloc(size);
    if (obj == NULL)
        bench_die("out of memory", "life");
    for (size_t at = 0; at < size; at += PAGE)
        obj[at] = 1;
    return obj;
}

static void **table_for(const workload_params *params, size_t *count) {
    *count = (size_t)params->slots * MIB / SIZE_LEAST;
    return bench_table(*count * sizeof(void *));
}

/* `slots` MiB of one size, another size in each phase, all freed between phases; the resident size is read while
 * they are live. */
uint64_t workload_life_phases(const workload_params *params, bench_result *result) {
    size_t most;
    void **objs = table_for(params, &most);
    bench_rng rng = bench_rng_seed(params->seed);
    uint64_t ops = 0;
    bench_start(result);
    for (int phase = 0; phase < BANDS; phase++) {
        size_t size = SIZE_LEAST << phase;
        size += bench_scale_high(bench_rng_next(&rng), (uint32_t)size); /* no size is a class's own */
        size_t count = (size_t)params->slots * MIB / size;
        for (size_t i = 0; i < count; i++)
            objs[i] = touched(size);
        bench_phase(result);
        workload_free_all(objs, count);
        ops += 2 * count;
    }
    bench_phase(result);
    bench_finish(result);
    return ops;
}

/* `slots` MiB are live all the time. Objects of one band are replaced, one by one, by those of the next. */
uint64_t workload_life_drift(const workload_params *params, bench_result *result) {
    size_t most;
    void **old = table_for(params, &most), **new = bench_table(most * sizeof *new);
    bench_rng rng = bench_rng_seed(params->seed);
    size_t old_count = 0, old_size = 1;
    uint64_t ops = 0;
    bench_start(result);
    for (int band = 0; band < BANDS; band++) {
        size_t size = SIZE_LEAST << band, freed = 0, total = 0, new_count = 0;
        while (total < (size_t)params->slots * MIB) {
            size_t one = size + bench_scale_high(bench_rng_next(&rng), (uint32_t)size);
            new[new_count++] = touched(one);
            total += one;
            for (; freed < old_count && freed * old_size < total; freed++)
                free(old[freed]);
        }
        workload_free_all(old + freed, old_count - freed);
        ops += new_count + old_count;
        bench_phase(result);
        void **swap = old;
        old = new;
        new = swap;
        old_count = new_count;
        old_size = total / new_count;
    }
    workload_free_all(old, old_count);
    bench_finish(result);
    return ops;
}

static pthread_barrier_t barrier;

/* Bursts of all sizes from 128 bytes to 256 KiB; then the thread waits, and ends. */
static void *burst_and_wait(void *seed) {
    bench_rng rng = bench_rng_seed(*(uint64_t *)seed);
    void *objs[BATCH];
    for (int i = 0; i < 60; i++) {
        size_t size = (size_t)128 << (i % 11), count = size < 8 * KIB ? BATCH : 512 * KIB / size + 1;
        for (size_t k = 0; k < count; k++)
            objs[k] = touched(size + bench_scale_high(bench_rng_next(&rng), (uint32_t)size));
        workload_free_all(objs, count);
    }
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    return NULL;
}

/* `threads` threads: after their bursts, after three seconds of rest, when they have ended, after malloc_trim. */
uint64_t workload_life_idle(const workload_params *params, bench_result *result) {
    pthread_t *threads = bench_table(params->threads * sizeof *threads);
    uint64_t *seeds = bench_table(params->threads * sizeof *seeds);
    pthread_barrier_init(&barrier, NULL, params->threads + 1);
    bench_start(result);
    for (uint32_t i = 0; i < params->threads; i++) {
        seeds[i] = params->seed + i;
        if (pthread_create(&threads[i], NULL, burst_and_wait, &seeds[i]) != 0)
            bench_die("a thread could not be made", "life_idle");
    }
    pthread_barrier_wait(&barrier);
    bench_phase(result);
    for (int i = 0; i < 30; i++) {
        usleep(100000);
        free(touched(300 * KIB));
    }
    bench_phase(result);
    pthread_barrier_wait(&barrier);
    for (uint32_t i = 0; i < params->threads; i++)
        pthread_join(threads[i], NULL);
    bench_phase(result);
    malloc_trim(0);
    bench_phase(result);
    bench_finish(result);
    return params->threads;
}

/* `slots` buffers of 1 MiB, the first page and the one in the middle touched. */
uint64_t workload_life_sparse(const workload_params *params, bench_result *result) {
    char **objs = bench_table(params->slots * sizeof *objs);
    bench_start(result);
    for (uint32_t i = 0; i < params->slots; i++) {
        objs[i] = malloc(MIB);
        if (objs[i] == NULL)
            bench_die("out of memory", "life_sparse");
        objs[i][0] = objs[i][MIB / 2] = 1;
    }
    bench_phase(result);
    workload_free_all((void **)objs, params->slots);
    bench_phase(result);
    bench_finish(result);
    return 2 * (uint64_t)params->slots;
}

/* First `slots` objects of 200 KiB are used and freed, then as many zeroed ones are taken, of which nothing is
 * touched; then one of a GiB, 1,024 of its bytes touched. */
uint64_t workload_life_calloc(const workload_params *params, bench_result *result) {
    void **objs = bench_table(params->slots * sizeof *objs);
    bench_start(result);
    for (uint32_t i = 0; i < params->slots; i++)
        objs[i] = calloc(1, 200 * KIB);
    bench_phase(result);
    workload_free_all(objs, params->slots);
    volatile char *large = calloc(1, 1024 * (size_t)MIB);
    if (large == NULL)
        bench_die("out of memory", "life_calloc");
    for (size_t i = 0; i < 1024; i++)
        large[i * (MIB / 7)] = 1;
    bench_phase(result);
    free((void *)large);
    bench_phase(result);
    bench_finish(result);
    return 2 * (uint64_t)params->slots;
}

/* A little work, for longer than any allocator waits. */
static void work_lightly(bench_rng *rng) {
    for (int i = 0; i < QUIET_STEPS; i++) {
        for (int k = 0; k < 100; k++)
            free(touched(16 + bench_scale_high(bench_rng_next(rng), 1024)));
        usleep(100000);
    }
}

/* `slots` buffers of 50 MiB, four of five freed: at once, and after light work. */
uint64_t workload_life_freed(const workload_params *params, bench_result *result) {
    void **objs = bench_table(params->slots * sizeof *objs);
    bench_rng rng = bench_rng_seed(params->seed);
    bench_start(result);
    for (uint32_t i = 0; i < params->slots; i++)
        objs[i] = touched((size_t)50 * MIB);
    for (uint32_t i = 0; i < params->slots; i++)
        if (i % 5 != 0) {
            free(objs[i]);
            objs[i] = NULL;
        }
    bench_phase(result);
    work_lightly(&rng);
    bench_phase(result);
    workload_free_all(objs, params->slots);
    bench_finish(result);
    return 2 * (uint64_t)params->slots;
}

/* `slots` MiB in objects of 300 KiB to 2 MiB, freed in any order; then light work. */
uint64_t workload_life_quiet(const workload_params *params, bench_result *result) {
    void **objs = bench_table(4 * params->slots * sizeof *objs);
    bench_rng rng = bench_rng_seed(params->seed);
    size_t count = 0, total = 0;
    bench_start(result);
    for (; total < (size_t)params->slots * MIB; count++) {
        size_t size = 300 * KIB + bench_scale_high(bench_rng_next(&rng), 1700 * KIB);
        objs[count] = touched(size);
        total += size;
    }
    bench_phase(result);
    for (size_t left = count; left > 0; left--) {
        size_t i = bench_scale_high(bench_rng_next(&rng), (uint32_t)left);
        free(objs[i]);
        objs[i] = objs[left - 1];
    }
    bench_phase(result);
    work_lightly(&rng);
    bench_phase(result);
    bench_finish(result);
    return 2 * (uint64_t)count;
}

/* `slots` MiB in objects whose sizes are powers of two up to 256 KiB; in each phase most of them are replaced. */
uint64_t workload_life_powers(const workload_params *params, bench_result *result) {
    size_t most, count = 0, total = 0;
    void **objs = table_for(params, &most);
    uint32_t *sizes = bench_table(most * sizeof *sizes);
    bench_rng rng = bench_rng_seed(params->seed);
    uint64_t ops = 0;
    bench_start(result);
    for (int phase = 0; phase < BANDS; phase++) {
        while (total < (size_t)params->slots * MIB) {
            /* each power has as many bytes as the others: a large one is drawn less often */
            uint32_t size = (uint32_t)SIZE_LEAST << (bench_rng_next(&rng) % (BANDS + 1));
            for (size_t sum = 0; sum < 256 * KIB; sum += size, total += size, count++) {
                objs[count] = touched(size);
                sizes[count] = size;
            }
        }
        ops += 2 * count;
        bench_phase(result);
        size_t kept = 0;
        for (size_t i = 0; i < count; i++)
            if (bench_rng_next(&rng) % 8 == 0) {
                objs[kept] = objs[i];
                sizes[kept++] = sizes[i];
            } else {
                total -= sizes[i];
                free(objs[i]);
            }
        count = kept;
    }
    workload_free_all(objs, count);
    bench_phase(result);
    bench_finish(result);
    return ops;
}

/* A batch that one thread passes to another. */
typedef struct stream {
    _Atomic(void *) place[BATCH];
    _Atomic int ends;
    uint64_t seed;
} stream;

static void *produce(void *argument) {
    stream *it = argument;
    bench_rng rng = bench_rng_seed(it->seed);
    for (unsigned i = 0; !it->ends; i = (i + 1) % BATCH) {
        void *obj = touched(16 + bench_scale_high(bench_rng_next(&rng), 4096));
        free(__atomic_exchange_n((void **)&it->place[i], obj, __ATOMIC_ACQ_REL));
    }
    return NULL;
}
static void *consume(void *argument) {
    stream *it = argument;
    for (unsigned i = 0; !it->ends; i = (i + 1) % BATCH)
        free(__atomic_exchange_n((void **)&it->place[i], NULL, __ATOMIC_ACQ_REL));
    return NULL;
}

/* Producers and consumers; every quarter of a second all of them end, and others come. The resident size is read
 * each second. */
uint64_t workload_life_streams(const workload_params *params, bench_result *result) {
    stream *streams = bench_table(params->threads * sizeof *streams);
    pthread_t *threads = bench_table(2 * params->threads * sizeof *threads);
    bench_start(result);
    for (int round = 0; round < 40; round++) {
        for (uint32_t i = 0; i < params->threads; i++) {
            streams[i].ends = 0;
            streams[i].seed = params->seed + (uint64_t)round;
            if (pthread_create(&threads[2 * i], NULL, produce, &streams[i]) != 0 ||
                pthread_create(&threads[2 * i + 1], NULL, consume, &streams[i]) != 0)
                bench_die("a thread could not be made", "life_streams");
        }
        usleep(250000);
        for (uint32_t i = 0; i < params->threads; i++)
            streams[i].ends = 1;
        for (uint32_t i = 0; i < 2 * params->threads; i++)
            pthread_join(threads[i], NULL);
        if (round % 4 == 3)
            bench_phase(result);
    }
    bench_finish(result);
    return 40;
}
