/* cwe122_overflow_found.c: writes past the end (CWE-122) that the free of the object itself cannot find: it is never
 * freed, or the bytes after it belong to a guard. Frees of neighbours, the sweep, the check at exit or the guard
 * find them. */
#include "misuse.h"

#include <unistd.h>

static void *kept[256];

static void at_return_from_main(bool error, size_t size) {
    kept[0] = take(size);
    fill(kept[0], 0, (ptrdiff_t)(size + error), 0x41);
}

static void one_nul_at_exit(bool error, size_t size) {
    kept[0] = take(size);
    if (error)
        put(kept[0], (ptrdiff_t)size, 0);
    exit(0);
}

static void in_thread_that_ends(void *obj) {
    put(obj, 24, 0x41);
    exit(0);
}

static void exit_by_a_thread(bool error, size_t arg) {
    (void)arg;
    kept[0] = take(error ? 24 : 25);
    in_thread(in_thread_that_ends, kept[0]);
}

static void never_freed_large(bool error, size_t size) {
    kept[0] = take(size);
    fill(kept[0], (ptrdiff_t)size - 10, (ptrdiff_t)(size + error), 0x41);
}

/* The program ends by _exit: only the frees of the neighbours can find it. */
static void by_neighbours(bool error, size_t size) {
    take_many(kept, 256, size);
    if (error)
        put(kept[128], (ptrdiff_t)size, 0x41);
    kept[128] = NULL;
    drop_many(kept, 256);
    _exit(0);
}

/* The program ends by _exit, and no neighbour is freed: only the sweep can find it. Of 8 objects from one call site
 * the first are sampled. */
static void by_the_sweep(bool error, size_t which) {
    static void *others[1000];
    const size_t size = 72;
    take_many(kept, 8, size);
    if (error)
        put(kept[which], (ptrdiff_t)size, 0x41);
    for (size_t round = 0; round < 300; round++) {
        take_many(others, 1000, 16 + round % 7 * 90);
        drop_many(others, 1000);
    }
    _exit(0);
}

static void page_past_large(bool error, size_t size) {
    char *obj = take(size);
    if (error)
        put(obj, (ptrdiff_t)size + 4096, 0x41);
    drop(obj);
}

static void stream_past_large(bool error, size_t size) {
    char *obj = take(size);
    memset(hide(obj), 0x41, size + (error ? 100000 : 0));
    drop(obj);
}

/* A run of bytes from a small object on: at some distance it meets bytes that are checked. */
static void stream_past_small(bool error, size_t length) {
    char *obj = take(64);
    memset(hide(obj), 0x41, error ? length : 64);
    drop(obj);
}

static void beyond_the_canary(bool error, size_t size) {
    char *obj = take(size);
    if (error)
        put(obj, (ptrdiff_t)size + 12, 0x41);
    drop(obj);
}

static void into_a_freed_neighbour(bool error, size_t size) {
    take_many(kept, 64, size);
    misuse_pair near = closest(kept, 64);
    char *low = kept[near.low], *high = kept[near.high];
    drop(high);
    if (error)
        fill(low, high - low, high - low + 8, 0x41);
}

#define FOUND(name, run, arg) {name, "heap overflow", "sweep", SURE, run, arg}
static const misuse_case cases[] = {
    FOUND("overflow_never_freed", at_return_from_main, 40),
    FOUND("overflow_never_freed_medium", at_return_from_main, 30001),
    FOUND("overflow_never_freed_nul", one_nul_at_exit, 40),
    FOUND("overflow_never_freed_large", never_freed_large, 1000001),
    FOUND("overflow_never_freed_exit_by_a_thread", exit_by_a_thread, 0),
    {"overflow_found_by_neighbours", "heap overflow", "sweep", CHANCE, by_neighbours, 72},
    FOUND("overflow_found_by_the_sweep", by_the_sweep, 7),
    FOUND("overflow_found_by_the_sweep_sampled", by_the_sweep, 0),
    {"overflow_page_past_large", "out-of-bounds access", "guard", SURE, page_past_large, 1 << 20},
    {"overflow_stream_past_large", "out-of-bounds access", "guard", SURE, stream_past_large, 1 << 20},
    {"overflow_stream_past_small", "out-of-bounds access|heap overflow", "canary", SURE, stream_past_small,
     1 << 16},
    {"overflow_stream_past_small_4_mib", "out-of-bounds access", "guard", SURE, stream_past_small, 4 << 20},
    {"overflow_into_slack_beyond_canary", "heap overflow|out-of-bounds access", "sample", CHANCE,
     beyond_the_canary, 33},
    {"overflow_into_a_freed_neighbour", "write after free", "write-after-free", SURE, into_a_freed_neighbour,
     64},
};
MISUSE_GROUP(cwe122_overflow_found, "122", cases);
