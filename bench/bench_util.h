/* bench_util.h: what every measured program shares: random numbers, touching, clocks and the result line.
 *
 * Nothing here allocates: the allocator under test serves only the workload's own requests. A program calls
 * bench_start() just before the measured part and bench_finish() just after it. Both make one getppid system call,
 * by which the laboratory finds the measured part in a system call trace. bench_print() writes one JSON line to
 * stdout. Times are seconds, sizes KiB. */
#ifndef HAK_BENCH_UTIL_H
#define HAK_BENCH_UTIL_H

#include <stddef.h>
#include <stdint.h>

typedef struct bench_rng {
    uint64_t state;
} bench_rng;

/* Any seed is good; equal seeds give equal sequences on every machine. */
static inline bench_rng bench_rng_seed(uint64_t seed) {
    bench_rng rng = {(seed + 1) * 0x9E3779B97F4A7C15u};
    return rng;
}

/* xorshift64: five instructions, so that the loop around the allocator costs little. */
static inline uint64_t bench_rng_next(bench_rng *rng) {
    uint64_t x = rng->state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    rng->state = x;
    return x;
}

/* The low half of `random` scaled into 0..bound-1, without a division. */
static inline uint32_t bench_scale_low(uint64_t random, uint32_t bound) {
    return (uint32_t)(((random & 0xFFFFFFFFu) * bound) >> 32);
}

/* The same for the high half. */
static inline uint32_t bench_scale_high(uint64_t random, uint32_t bound) {
    return (uint32_t)(((random >> 32) * bound) >> 32);
}

/* Writes the first and the last byte, as the described benchmark does. */
static inline void bench_touch(void *obj, size_t size) {
    volatile unsigned char *bytes = obj;
    bytes[0] = (unsigned char)size;
    bytes[size - 1] = (unsigned char)size;
}

enum { BENCH_PHASES_MAX = 16 };

typedef struct bench_result {
    double wall_seconds;
    double cpu_seconds; /* of all threads, user and system */
    long minor_faults;  /* in the measured part */
    long major_faults;
    long hwm_kib; /* VmHWM: the peak of the whole process */
    int phases;   /* resident size after each phase, for workloads that have phases */
    long phase_rss_kib[BENCH_PHASES_MAX];
    double fill_seconds; /* CPU time of the preparation; 0: not measured, as for the next two */
    long live_kib;       /* asked for and not freed */
    long metadata_kib;   /* the size of the allocator's own tables, as it reports it */
    char more[256];      /* further fields of the line, a comma before each */
} bench_result;

void bench_start(bench_result *result);
void bench_finish(bench_result *result);

/* Notes the present resident size as the next phase. */
void bench_phase(bench_result *result);

/* One line: {"workload":..., "ops":..., "wall_s":..., ...}. */
void bench_print(const bench_result *result, const char *workload, uint64_t ops);

/* Ends the program with status 2 and a message, for a wrong argument or a failed allocation. */
void bench_die(const char *message, const char *detail) __attribute__((noreturn));

/* A decimal argument; calls bench_die() if it is no number or is above `max`. */
uint64_t bench_number(const char *text, uint64_t max);

/* Zeroed memory from the OS for the workload's own tables, so that they do not disturb the allocator. */
void *bench_table(size_t bytes);

#endif /* HAK_BENCH_UTIL_H */
