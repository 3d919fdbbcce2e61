/* workloads_main.c: one program for all workloads: workloads NAME [key=value ...]; `workloads --list` names them.
 * Keys: ops, slots, min, max, threads, pages, seed, file, and scale (percent of the workload's own ops, for quick or
 * long runs). `workloads --describe TRACE` prints a summary of a recorded trace. */
#include "bench/workloads.h"

#include <stdio.h>
#include <string.h>

typedef struct workload {
    const char *name;
    workload_function *run;
    workload_params params; /* ops, slots, size_min, size_max, threads, all_pages, seed, file */
    const char *words;
} workload;

static const workload workloads[] = {
    {"a", workload_mixed, {40000000, 400, 16, 1024, 1, 0, 1, NULL}, "mixed, working set 400, 16..1024 B"},
    {"b", workload_mixed, {40000000, 8192, 16, 1024, 1, 0, 1, NULL}, "mixed, working set 8,192, 16..1024 B"},
    {"c",
     workload_mixed,
     {20000000, 100000, 16, 2048, 1, 0, 1, NULL},
     "mixed, working set 100,000, 16..2048 B"},
    {"d", workload_mixed, {40000000, 400, 16, 32768, 1, 0, 1, NULL}, "mixed, working set 400, 16..32768 B"},
    {"e", workload_realloc, {20000000, 400, 16, 4096, 1, 0, 1, NULL}, "realloc-heavy, 16..4096 B"},
    {"f", workload_mixed_threads, {40000000, 400, 16, 1024, 2, 0, 1, NULL}, "a on two threads"},
    {"g",
     workload_shared_slots,
     {10000000, 400, 16, 1024, 2, 0, 1, NULL},
     "two threads, 44 % of the frees remote"},
    {"h", workload_mixed, {4000000, 100, 65536, 4194304, 1, 0, 1, NULL}, "64 KiB..4 MiB, ends touched"},
    {"h2", workload_mixed, {120000, 100, 65536, 4194304, 1, 1, 1, NULL}, "64 KiB..4 MiB, every page touched"},
    {"i", workload_batch, {160000000, 400, 16, 1024, 1, 0, 1, NULL}, "batches of 400, freed in random order"},
    {"j", workload_lifo, {200000000, 1, 64, 64, 1, 0, 1, NULL}, "one 64 B object, last in first out"},
    {"larson",
     workload_larson,
     {30000000, 1000, 10, 500, 2, 0, 1, NULL},
     "server threads that succeed each other"},
    {"xmalloc",
     workload_queue,
     {10000000, 1, 16, 512, 2, 0, 1, NULL},
     "producer and consumer, batches of 120"},
    {"storm",
     workload_exit_storm,
     {4000000, 100, 16, 1024, 2, 0, 1, NULL},
     "threads that live for 100 objects"},
    {"scratch", workload_cache_scratch, {2000000, 1, 8, 8, 2, 0, 1, NULL}, "passive false sharing"},
    {"thrash", workload_cache_thrash, {2000000, 1, 8, 8, 2, 0, 1, NULL}, "active false sharing"},
    {"grow", workload_grow, {2000000, 64, 16, 262144, 1, 0, 1, NULL}, "vectors that grow by half to 256 KiB"},
    {"frag", workload_fragment, {0, 200000, 16, 256, 1, 0, 1, NULL}, "survivors among short-lived objects"},
    {"burst", workload_burst, {0, 500000, 16, 1024, 1, 0, 1, NULL}, "a burst that is freed"},
    {"life_phases", workload_life_phases, {0, 200, 1, 1, 1, 1, 1, NULL}, "12 phases, a size each"},
    {"life_drift", workload_life_drift, {0, 100, 1, 1, 1, 1, 1, NULL}, "sizes drift over 12 bands"},
    {"life_idle", workload_life_idle, {0, 1, 1, 1, 200, 1, 1, NULL}, "threads rest after a burst, and end"},
    {"life_streams", workload_life_streams, {0, 1, 1, 1, 4, 1, 1, NULL}, "producers and consumers, replaced"},
    {"life_sparse", workload_life_sparse, {0, 2000, 1, 1, 1, 0, 1, NULL}, "1 MiB buffers, two pages touched"},
    {"life_calloc",
     workload_life_calloc,
     {0, 4000, 1, 1, 1, 0, 1, NULL},
     "zeroed memory that is not touched"},
    {"life_freed", workload_life_freed, {0, 40, 1, 1, 1, 1, 1, NULL}, "four of five large buffers freed"},
    {"life_quiet", workload_life_quiet, {0, 300, 1, 1, 1, 1, 1, NULL}, "large objects, then light work"},
    {"life_powers", workload_life_powers, {0, 100, 1, 1, 1, 1, 1, NULL}, "powers of two to 256 KiB"},
    {"latency_soak",
     workload_latency_soak,
     {20000000, 20000, 16, 65536, 1, 0, 1, NULL},
     "single calls of a server's sizes"},
    {"latency_burst",
     workload_latency_burst,
     {8000000, 200000, 16, 65536, 1, 0, 1, NULL},
     "single calls while the heap grows and shrinks"},
    {"heap",
     workload_heap,
     {20000000, 1 << 20, 16, 1024, 1, 0, 1, NULL},
     "a's steps all over a heap of slots * 260 B"},
    {"replay", workload_replay, {20000000, 1, 1, 1, 1, 0, 1, NULL}, "a recorded trace: file="},
    {"sizes",
     workload_sizes,
     {20000000, 4096, 1, 1, 1, 0, 1, NULL},
     "a with the sizes of a recorded trace: file="},
};

enum { WORKLOADS = sizeof workloads / sizeof workloads[0] };

static const workload *workload_find(const char *name) {
    for (int i = 0; i < WORKLOADS; i++)
        if (!strcmp(workloads[i].name, name))
            return &workloads[i];
    bench_die("no such workload (try --list)", name);
}

static int set_wide(const char *text, const char *key, uint64_t *value) {
    size_t length = strlen(key);
    if (strncmp(text, key, length) || text[length] != '=')
        return 0;
    *value = bench_number(text + length + 1, UINT64_MAX);
    return 1;
}

static int set(const char *text, const char *key, uint32_t *value) {
    uint64_t wide;
    if (!set_wide(text, key, &wide))
        return 0;
    if (wide > UINT32_MAX)
        bench_die("too large", text);
    *value = (uint32_t)wide;
    return 1;
}

static void params_set(workload_params *params, const char *text) {
    uint32_t scale;
    if (!strncmp(text, "file=", 5)) {
        params->file = text + 5;
        return;
    }
    if (set_wide(text, "ops", &params->ops) || set_wide(text, "seed", &params->seed) ||
        set(text, "slots", &params->slots) || set(text, "min", &params->size_min) ||
        set(text, "max", &params->size_max) || set(text, "threads", &params->threads) ||
        set(text, "pages", &params->all_pages))
        return;
    if (!set(text, "scale", &scale))
        bench_die("unknown setting", text);
    params->ops = params->ops * scale / 100;
}

int main(int argc, char **argv) {
    if (argc == 2 && !strcmp(argv[1], "--list")) {
        for (int i = 0; i < WORKLOADS; i++)
            printf("%-12s %s\n", workloads[i].name, workloads[i].words);
        return 0;
    }
    if (argc == 3 && !strcmp(argv[1], "--describe")) {
        workload_describe(argv[2]);
        return 0;
    }
    if (argc < 2)
        bench_die("usage", "workloads NAME [key=value ...]");
    const workload *workload = workload_find(argv[1]);
    workload_params params = workload->params;
    for (int i = 2; i < argc; i++)
        params_set(&params, argv[i]);
    if (!params.slots || !params.threads || !params.size_min || params.size_min > params.size_max)
        bench_die("slots, threads, min", "must be at least 1, and min at most max");
    bench_result result;
    uint64_t ops = workload->run(&params, &result);
    bench_print(&result, workload->name, ops);
    return 0;
}
