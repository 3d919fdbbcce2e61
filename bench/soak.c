/* soak.c: the long run of one process: soak OPS_PER_EPOCH WORKING_SET SEED.
 *
 * For each byte on stdin it runs one epoch of random_mixed's steps and prints one CSV line: ops, CPU seconds, RSS and
 * VmHWM in KiB, minor faults, then p50, p99, p99.9 and p99.99 in ns of all epochs so far. An epoch is a number of
 * operations and is timed by the CPU clock, so several processes can take turns, epoch by epoch, on one machine.
 * One step in SAMPLE_EVERY is timed by itself; its latency goes into a histogram with 16 buckets per doubling.
 */
#define _GNU_SOURCE
#include "bench/bench_util.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { SIZE_MIN = 16, SIZE_MAX_INCLUDED = 1024, SAMPLE_EVERY = 1024, BUCKETS = 16 * 40 };

typedef struct histogram {
    uint64_t counts[BUCKETS];
    uint64_t total;
} histogram;

typedef struct soak {
    void **slots;
    uint32_t working_set;
    uint64_t ops;
    bench_rng rng;
    histogram latency;
} soak;

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static unsigned bucket_of(uint64_t ns) {
    if (ns < 16)
        return (unsigned)ns;
    unsigned doubling = 63 - (unsigned)__builtin_clzl(ns);
    unsigned bucket = 16 * (doubling - 3) + (unsigned)((ns >> (doubling - 4)) & 15);
    return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

/* The lowest latency that falls into `bucket`. */
static uint64_t bucket_ns(unsigned bucket) {
    return bucket < 16 ? bucket : (uint64_t)(16 + bucket % 16) << (bucket / 16 - 1);
}

static uint64_t percentile(const histogram *of, double share) {
    uint64_t rank = (uint64_t)((double)of->total * share), seen = 0;
    for (unsigned i = 0; i < BUCKETS; i++) {
        seen += of->counts[i];
        if (seen > rank)
            return bucket_ns(i);
    }
    return bucket_ns(BUCKETS - 1);
}

static void step(soak *run) {
    uint64_t random = bench_rng_next(&run->rng);
    void **slot = &run->slots[bench_scale_low(random, run->working_set)];
    if (*slot) {
        free(*slot);
        *slot = NULL;
        return;
    }
    size_t size = SIZE_MIN + bench_scale_high(random, SIZE_MAX_INCLUDED - SIZE_MIN + 1);
    *slot = malloc(size);
    if (!*slot)
        bench_die("malloc failed", "out of memory");
    bench_touch(*slot, size);
}

static void run_epoch(soak *run, bench_result *result) {
    bench_start(result);
    for (uint64_t i = 0; i < run->ops; i += SAMPLE_EVERY) {
        for (int k = 1; k < SAMPLE_EVERY; k++)
            step(run);
        uint64_t before = now_ns();
        step(run);
        run->latency.counts[bucket_of(now_ns() - before)]++;
        run->latency.total++;
    }
    bench_finish(result);
    bench_phase(result);
}

static void print_percentiles(const histogram *of) {
    printf(",%llu,%llu,%llu,%llu\n", (unsigned long long)percentile(of, 0.5),
           (unsigned long long)percentile(of, 0.99), (unsigned long long)percentile(of, 0.999),
           (unsigned long long)percentile(of, 0.9999));
    fflush(stdout);
}

int main(int argc, char **argv) {
    static char output[4096];
    static soak run;
    char line[8];
    bench_result result;
    if (argc != 4)
        bench_die("usage", "soak OPS_PER_EPOCH WORKING_SET SEED");
    setvbuf(stdout, output, _IOFBF, sizeof output);
    run.ops = bench_number(argv[1], UINT64_MAX / 2) / SAMPLE_EVERY * SAMPLE_EVERY;
    run.working_set = (uint32_t)bench_number(argv[2], UINT32_MAX);
    run.rng = bench_rng_seed(bench_number(argv[3], UINT64_MAX));
    if (!run.working_set || !run.ops)
        bench_die("working set, ops", "must be at least 1 and 1024");
    run.slots = bench_table(run.working_set * sizeof *run.slots);
    while (read(STDIN_FILENO, line, 1) == 1) {
        run_epoch(&run, &result);
        printf("%llu,%.6f,%ld,%ld,%ld", (unsigned long long)run.ops, result.cpu_seconds,
               result.phase_rss_kib[0], result.hwm_kib, result.minor_faults);
        print_percentiles(&run.latency);
    }
    return 0;
}
