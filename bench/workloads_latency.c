/* workloads_latency.c: workloads whose result is the time of single calls: the soak of a server's mixed sizes, and
 * bursts that grow and shrink the heap. README.md describes them; workloads.h has the contract.
 *
 * A call's time is the difference of two readings of CLOCK_MONOTONIC, some 20 ns of which are the clock's own. Times
 * fall into a histogram of 16 parts to each doubling, as in HdrHistogram, so a percentile is right to a sixteenth. */
#define _GNU_SOURCE
#include "bench/workloads.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { PARTS = 16, PARTS_LOG2 = 4, BUCKETS = 64 * PARTS, SLOW_NS = 100 * 1000 };

typedef struct histogram {
    uint64_t calls, longest;
    uint32_t count[BUCKETS];
} histogram;

typedef struct latencies {
    histogram malloc_ns, free_ns;
    bool watched;           /* around each call the kernel is asked for the thread's faults and switches */
    uint64_t slow, by_none; /* watched calls above SLOW_NS, and those that no fault or switch explains */
} latencies;

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Values below PARTS have a bucket each; each doubling above has PARTS. */
static unsigned bucket_of(uint64_t ns) {
    if (ns < PARTS)
        return (unsigned)ns;
    unsigned log2 = 63 - (unsigned)__builtin_clzll(ns);
    return (log2 - PARTS_LOG2 + 1) * PARTS + (unsigned)(ns >> (log2 - PARTS_LOG2)) % PARTS;
}

/* The largest value of the bucket. */
static uint64_t bucket_end(unsigned bucket) {
    if (bucket < PARTS)
        return bucket;
    unsigned shift = bucket / PARTS - 1;
    return ((uint64_t)(PARTS + bucket % PARTS + 1) << shift) - 1;
}

static void note(histogram *h, uint64_t ns) {
    h->calls++;
    h->count[bucket_of(ns)]++;
    if (ns > h->longest)
        h->longest = ns;
}

/* The time that `per_10000` of 10,000 calls do not exceed. */
static uint64_t percentile(const histogram *h, uint64_t per_10000) {
    uint64_t below = 0, wanted = h->calls * per_10000 / 10000;
    for (unsigned i = 0; i < BUCKETS; i++)
        if ((below += h->count[i]) >= wanted && below != 0)
            return bucket_end(i) < h->longest ? bucket_end(i) : h->longest;
    return h->longest;
}

static long kernel_events(void) {
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_minflt + usage.ru_majflt + usage.ru_nivcsw + usage.ru_nvcsw;
}

static void note_call(latencies *all, histogram *h, uint64_t ns, long events_before) {
    note(h, ns);
    if (!all->watched || ns <= SLOW_NS)
        return;
    all->slow++;
    all->by_none += kernel_events() == events_before;
}

static void *timed_malloc(latencies *all, size_t size) {
    long events = all->watched ? kernel_events() : 0;
    uint64_t from = now_ns();
    void *obj = malloc(size);
    note_call(all, &all->malloc_ns, now_ns() - from, events);
    if (!obj)
        bench_die("malloc failed", "out of memory");
    bench_touch(obj, size);
    return obj;
}

static void timed_free(latencies *all, void *obj) {
    long events = all->watched ? kernel_events() : 0;
    uint64_t from = now_ns();
    free(obj);
    note_call(all, &all->free_ns, now_ns() - from, events);
}

/* Mostly small: half are of at most 16 times size_min, and each further doubling is half as likely as the one
 * before. */
static size_t server_size(const workload_params *params, uint64_t random) {
    unsigned doublings = (unsigned)__builtin_ctzll(random >> 40 | 1ull << 23);
    uint64_t most = (uint64_t)params->size_min << (4 + doublings);
    if (most > params->size_max)
        most = params->size_max;
    return params->size_min + bench_scale_high(random << 20, (uint32_t)(most - params->size_min + 1));
}

static void soak_steps(latencies *all, void **slots, const workload_params *params, bench_rng *rng) {
    for (uint64_t i = 0; i < params->ops; i++) {
        uint64_t random = bench_rng_next(rng);
        void **slot = &slots[bench_scale_low(random, params->slots)];
        if (*slot) {
            timed_free(all, *slot);
            *slot = NULL;
        } else {
            *slot = timed_malloc(all, server_size(params, random));
        }
    }
}

/* All slots are filled, then emptied, as often as `ops` allows. */
static void burst_steps(latencies *all, void **slots, const workload_params *params, bench_rng *rng) {
    for (uint64_t done = 0; done < params->ops; done += 2ull * params->slots) {
        for (uint32_t i = 0; i < params->slots; i++)
            slots[i] = timed_malloc(all, server_size(params, bench_rng_next(rng)));
        for (uint32_t i = 0; i < params->slots; i++) {
            timed_free(all, slots[i]);
            slots[i] = NULL;
        }
    }
}

typedef void steps_function(latencies *all, void **slots, const workload_params *params, bench_rng *rng);

static int say(char *text, size_t room, const char *name, const histogram *h) {
    return snprintf(text, room, ",\"%s\":[%llu,%llu,%llu,%llu,%llu]", name,
                    (unsigned long long)percentile(h, 5000), (unsigned long long)percentile(h, 9900),
                    (unsigned long long)percentile(h, 9990), (unsigned long long)percentile(h, 9999),
                    (unsigned long long)h->longest);
}

/* Once for the times, and for a fifth as long to find the causes of slow calls. */
static uint64_t run(const workload_params *params, bench_result *result, steps_function *steps) {
    void **slots = bench_table(params->slots * sizeof *slots);
    latencies *timed = bench_table(sizeof *timed), *watched = bench_table(sizeof *watched);
    bench_rng rng = bench_rng_seed(params->seed);
    bench_start(result);
    steps(timed, slots, params, &rng);
    bench_finish(result);
    workload_params fifth = *params;
    fifth.ops /= 5;
    watched->watched = true;
    steps(watched, slots, &fifth, &rng);
    workload_free_all(slots, params->slots);
    size_t at = (size_t)say(result->more, sizeof result->more, "malloc_ns", &timed->malloc_ns);
    at += (size_t)say(result->more + at, sizeof result->more - at, "free_ns", &timed->free_ns);
    snprintf(result->more + at, sizeof result->more - at, ",\"slow\":[%llu,%llu]",
             (unsigned long long)watched->slow, (unsigned long long)watched->by_none);
    return params->ops;
}

uint64_t workload_latency_soak(const workload_params *params, bench_result *result) {
    return run(params, result, soak_steps);
}

uint64_t workload_latency_burst(const workload_params *params, bench_result *result) {
    return run(params, result, burst_steps);
}
