/* curves_others.c: what goes on in the process of an attack, beside the attacker: other sizes, other threads, large
 * objects; curves.h has the contract. */
#include "bench/curves.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    KIB = 1024,
    MIB = 1024 * KIB,
    ROUNDS = 3,
    DRAIN_THREADS = 4,
    DRAIN_LARGE = 1000,
    LARGE_MOST = 31 * MIB, /* hardened_malloc unmaps what is larger than 32 MiB at once */
    HUGE_MOST = 127 * MIB,
    BUSY_LIVE = 100,
    BUSY_WIDTHS = 18,  /* doublings: 16 bytes to 4 MiB */
    BUSY_ROUNDS = 300, /* of each thread before the attack begins */
    BUSY_WAIT_US = 1000,
};

/* About so many objects of a size at a time: one MiB of them, at least some. */
static size_t count_of(size_t size, size_t most) {
    size_t count = MIB / size + 12;
    return count < most ? count : most;
}

/* `rounds` times `count` objects of one size, made and then freed. */
static bool rounds_of(int rounds, size_t size, void **objs, size_t count, uintptr_t stale,
                      size_t stale_size) {
    bool met = false;
    for (int round = 0; round < rounds; round++) {
        for (size_t i = 0; i < count; i++) {
            objs[i] = malloc(size);
            met |= objs[i] != NULL && curves_overlap((uintptr_t)objs[i], size, stale, stale_size);
        }
        for (size_t i = 0; i < count; i++)
            free(objs[i]);
    }
    return met;
}

static bool is_near(size_t size, size_t other) {
    return size > other * 3 / 4 && size < other * 5 / 4 + 32;
}

/* All sizes from 16 bytes to 128 KiB in steps of a seventh; `but`: none near it; 0: all. */
static bool all_sizes(int rounds, size_t but, uintptr_t stale, size_t stale_size) {
    enum { MOST = 4000 };
    void **objs = bench_table(MOST * sizeof(void *));
    bool met = false;
    for (size_t size = 16; size <= 128 * KIB; size += size < 128 ? 16 : size / 7)
        if (but == 0 || !is_near(size, but))
            met |= rounds_of(rounds, size, objs, count_of(size, MOST), stale, stale_size);
    return met;
}

static void *all_sizes_thread(void *unused) {
    (void)all_sizes(1, 0, 0, 0);
    return unused;
}

static bool from_threads(void) {
    pthread_t threads[DRAIN_THREADS];
    for (int i = 0; i < DRAIN_THREADS; i++)
        if (pthread_create(&threads[i], NULL, all_sizes_thread, NULL) != 0)
            bench_die("no thread", "drain");
    for (int i = 0; i < DRAIN_THREADS; i++)
        pthread_join(threads[i], NULL);
    return false;
}

/* Untouched objects of these sizes, one or two at a time: they cost an attacker next to nothing. */
static bool large(size_t least, size_t most, size_t but, uintptr_t stale, size_t stale_size) {
    bench_rng rng = bench_rng_seed(stale);
    void *objs[2];
    bool met = false;
    for (int i = 0; i < DRAIN_LARGE; i++) {
        size_t size = least + bench_scale_high(bench_rng_next(&rng), (uint32_t)(most - least));
        if (!is_near(size, but))
            met |= rounds_of(ROUNDS, size, objs, i < 2 ? 2 : 1, stale, stale_size);
    }
    return met;
}

bool curves_drain(const curves_attack *attack, uintptr_t stale) {
    if (strcmp(attack->drain, "none") == 0)
        return false;
    if (strcmp(attack->drain, "classes") == 0)
        return all_sizes(ROUNDS, attack->size, stale, attack->size);
    if (strcmp(attack->drain, "threads") == 0)
        return from_threads();
    if (strcmp(attack->drain, "large") == 0)
        return large(MIB, LARGE_MOST, attack->size, stale, attack->size);
    if (strcmp(attack->drain, "huge") == 0)
        return large(LARGE_MOST + 2 * MIB, HUGE_MOST, attack->size, stale, attack->size);
    bench_die("unknown drain", attack->drain);
}

static atomic_long warm; /* threads that are at work */

static void *busy(void *seed) {
    bench_rng rng = bench_rng_seed((uintptr_t)seed);
    void *objs[BUSY_LIVE] = {NULL};
    for (long round = 0;; round++) {
        uint64_t random = bench_rng_next(&rng);
        uint32_t slot = bench_scale_low(random, BUSY_LIVE);
        free(objs[slot]);
        size_t size = (size_t)16 << bench_scale_high(random, BUSY_WIDTHS);
        size += bench_scale_low(bench_rng_next(&rng), (uint32_t)size);
        objs[slot] = malloc(size);
        if (objs[slot] != NULL)
            *(volatile char *)objs[slot] = 1;
        if (round == BUSY_ROUNDS)
            atomic_fetch_add(&warm, 1);
    }
    return NULL;
}

void curves_busy_start(long threads) {
    for (long i = 0; i < threads; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, busy, (void *)(i + 1)) != 0)
            bench_die("no thread", "busy");
        pthread_detach(thread);
    }
    while (atomic_load(&warm) < threads)
        usleep(BUSY_WAIT_US);
}
