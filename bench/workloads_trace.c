/* workloads_trace.c: workloads on a recorded trace (trace_format.h): its replay, and workload a with its sizes.
 * README.md describes them; workloads.h has the contract. A trace is checked once, before the measurement, and then
 * trusted.
 * */
#include "bench/workloads.h"

#include "bench/trace_format.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct trace {
    const uint8_t *first, *end; /* the events */
    uint64_t count[TRACE_KINDS];
    uint64_t events; /* without TRACE_THREAD */
    uint32_t slots;  /* the largest number of live objects */
    uint64_t peak_bytes;
    uint64_t threads;
    uint64_t allocations; /* events that ask for a size */
} trace;

static void trace_map(trace *trace, const char *path) {
    struct stat stat;
    if (!path)
        bench_die("this workload", "needs file=TRACE (tools/traces makes them)");
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0 || fstat(file, &stat))
        bench_die(path, strerror(errno));
    size_t bytes = (size_t)stat.st_size;
    const uint8_t *mapped =
        bytes ? mmap(NULL, bytes, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0) : MAP_FAILED;
    close(file);
    if (mapped == MAP_FAILED || bytes < TRACE_MAGIC_BYTES || memcmp(mapped, TRACE_MAGIC, TRACE_MAGIC_BYTES))
        bench_die(path, "is not a recorded trace");
    trace->first = mapped + TRACE_MAGIC_BYTES;
    trace->end = mapped + bytes;
}

/* Sizes of the live objects by slot; the check of a trace needs them. */
typedef struct checker {
    trace_slots slots;
    uint64_t *sizes; /* size + 1; 0: the slot is free */
    uint64_t bytes;
} checker;

static int check_event(trace *trace, checker *check, const trace_event *event) {
    if (event->kind == TRACE_THREAD) {
        trace->threads = event->slot > trace->threads ? event->slot : trace->threads;
        return 1;
    }
    int old = event->kind == TRACE_FREE || event->kind == TRACE_REALLOC;
    if (old && (event->slot >= check->slots.used || !check->sizes[event->slot]))
        return 0;
    if (event->kind != TRACE_FREE && event->size > PTRDIFF_MAX / 2)
        return 0;
    if (event->kind == TRACE_REALLOC && !event->size)
        return 0; /* the recorder writes realloc(p, 0) as a free */
    if ((event->kind == TRACE_ALIGNED && event->slot > 40) || check->slots.used == TRACE_SLOTS_MAX)
        return 0;
    uint32_t slot = old ? (uint32_t)event->slot : trace_slot_take(&check->slots);
    check->bytes -= check->sizes[slot] ? check->sizes[slot] - 1 : 0;
    check->sizes[slot] = event->kind == TRACE_FREE ? 0 : event->size + 1;
    check->bytes += check->sizes[slot] ? event->size : 0;
    if (event->kind == TRACE_FREE)
        trace_slot_give(&check->slots, slot);
    trace->peak_bytes = check->bytes > trace->peak_bytes ? check->bytes : trace->peak_bytes;
    trace->allocations += event->kind != TRACE_FREE;
    trace->events++;
    return 1;
}

static void *untouched(size_t bytes) {
    void *table =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (table == MAP_FAILED)
        bench_die("no memory for a table", strerror(errno));
    return table;
}

static void trace_open(trace *trace, const char *path) {
    memset(trace, 0, sizeof *trace);
    trace_map(trace, path);
    size_t sizes_bytes = TRACE_SLOTS_MAX * sizeof(uint64_t), freed_bytes = TRACE_SLOTS_MAX * sizeof(uint32_t);
    checker check = {.sizes = untouched(sizes_bytes), .slots.freed = untouched(freed_bytes)};
    trace_event event = {TRACE_END, 0, 0};
    for (const uint8_t *at = trace->first; (at = trace_get(at, trace->end, &event)) != NULL;) {
        trace->count[event.kind]++;
        if (!check_event(trace, &check, &event))
            bench_die(path, "an event does not fit those before it");
    }
    if (event.kind != TRACE_END)
        bench_die(path, "is cut off or broken");
    if (!trace->allocations)
        bench_die(path, "has no allocation");
    trace->slots = check.slots.used;
    munmap(check.sizes, sizes_bytes);
    munmap(check.slots.freed, freed_bytes);
}

/* Programs use the memory that they request: the ends and every page are written. Size 0 may not be touched. */
static void *used(void *obj, size_t size) {
    if (!obj)
        bench_die("replay", "out of memory");
    for (size_t at = 0; at < size; at += 4096)
        ((volatile unsigned char *)obj)[at] = 1;
    if (size)
        bench_touch(obj, size);
    return obj;
}

static void *replay_new(const trace_event *event) {
    if (event->kind == TRACE_CALLOC)
        return used(calloc(1, event->size), event->size);
    if (event->kind == TRACE_ALIGNED)
        return used(memalign((size_t)1 << event->slot, event->size), event->size);
    return used(malloc(event->size), event->size);
}

/* The whole trace once, on one thread. Objects that it leaves are freed, so that the next time begins alike. */
static void replay_once(const trace *trace, void **objects, uint32_t *freed) {
    trace_slots slots = {freed, 0, 0};
    trace_event event = {TRACE_END, 0, 0};
    for (const uint8_t *at = trace->first; (at = trace_get(at, trace->end, &event)) != NULL;) {
        if (event.kind == TRACE_FREE) {
            free(objects[event.slot]);
            objects[event.slot] = NULL;
            trace_slot_give(&slots, (uint32_t)event.slot);
        } else if (event.kind == TRACE_REALLOC) {
            objects[event.slot] = used(realloc(objects[event.slot], event.size), event.size);
        } else if (event.kind != TRACE_THREAD) {
            objects[trace_slot_take(&slots)] = replay_new(&event);
        }
    }
    workload_free_all(objects, trace->slots);
}

uint64_t workload_replay(const workload_params *params, bench_result *result) {
    trace trace;
    trace_open(&trace, params->file);
    void **objects = bench_table(trace.slots * sizeof *objects);
    uint32_t *freed = bench_table(trace.slots * sizeof *freed);
    uint64_t rounds = params->ops > trace.events ? params->ops / trace.events : 1;
    bench_start(result);
    for (uint64_t i = 0; i < rounds; i++)
        replay_once(&trace, objects, freed);
    bench_finish(result);
    return rounds * trace.events;
}

enum { SAMPLES = 1 << 14 };

/* Stores sizes of the trace's allocations in `sizes`, each with the same chance, always the same ones. 0 becomes 1. */
static void sizes_sample(const trace *trace, uint64_t seed, uint32_t *sizes) {
    bench_rng rng = bench_rng_seed(seed);
    trace_event event = {TRACE_END, 0, 0};
    uint64_t seen = 0;
    for (const uint8_t *at = trace->first; (at = trace_get(at, trace->end, &event)) != NULL;) {
        if (event.kind == TRACE_FREE || event.kind == TRACE_THREAD)
            continue;
        uint64_t place = seen < SAMPLES ? seen : bench_rng_next(&rng) % (seen + 1);
        if (place < SAMPLES)
            sizes[place] = event.size > UINT32_MAX ? UINT32_MAX : event.size ? (uint32_t)event.size : 1;
        seen++;
    }
    for (uint64_t i = seen; i < SAMPLES; i++)
        sizes[i] = sizes[i % seen];
}

uint64_t workload_sizes(const workload_params *params, bench_result *result) {
    trace trace;
    trace_open(&trace, params->file);
    uint32_t *sizes = bench_table(SAMPLES * sizeof *sizes);
    sizes_sample(&trace, params->seed, sizes);
    void **slots = bench_table(params->slots * sizeof *slots);
    bench_rng rng = bench_rng_seed(params->seed);
    bench_start(result);
    for (uint64_t i = 0; i < params->ops; i++) {
        uint64_t random = bench_rng_next(&rng);
        void **slot = &slots[bench_scale_low(random, params->slots)];
        if (*slot) {
            free(*slot);
            *slot = NULL;
        } else {
            *slot = workload_new(sizes[bench_scale_high(random, SAMPLES)], params);
        }
    }
    bench_finish(result);
    workload_free_all(slots, params->slots);
    return params->ops;
}

static int compare_sizes(const void *a, const void *b) {
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

void workload_describe(const char *path) {
    trace trace;
    trace_open(&trace, path);
    uint32_t *sizes = bench_table(SAMPLES * sizeof *sizes);
    sizes_sample(&trace, 1, sizes);
    qsort(sizes, SAMPLES, sizeof *sizes, compare_sizes);
    printf(
        "{\"events\":%llu,\"malloc\":%llu,\"calloc\":%llu,\"realloc\":%llu,\"aligned\":%llu,\"free\":%llu,",
        (unsigned long long)trace.events, (unsigned long long)trace.count[TRACE_MALLOC],
        (unsigned long long)trace.count[TRACE_CALLOC], (unsigned long long)trace.count[TRACE_REALLOC],
        (unsigned long long)trace.count[TRACE_ALIGNED], (unsigned long long)trace.count[TRACE_FREE]);
    printf("\"threads\":%llu,\"peak_objects\":%u,\"peak_bytes\":%llu,\"size_p50\":%u,\"size_p90\":%u,\"size_"
           "p99\":%u}\n",
           (unsigned long long)trace.threads, trace.slots, (unsigned long long)trace.peak_bytes,
           sizes[SAMPLES / 2], sizes[SAMPLES / 10 * 9], sizes[SAMPLES / 100 * 99]);
}
