/* cwe761_not_start.c: free, realloc and malloc_usable_size of a pointer into a heap object, not to its start
 * (CWE-761). */
#include "misuse.h"

static void at_offset(size_t size, bool error, ptrdiff_t offset) {
    char *obj = take(size);
    drop(error ? (char *)hide(obj) + offset : obj);
    if (error)
        drop(obj);
}

static void of_64(bool error, size_t offset) {
    at_offset(64, error, (ptrdiff_t)offset);
}

static void of_64_before(bool error, size_t distance) {
    at_offset(64, error, -(ptrdiff_t)distance);
}

static void of_a_page(bool error, size_t offset) {
    at_offset(4096, error, (ptrdiff_t)offset);
}

static void of_medium(bool error, size_t offset) {
    at_offset(40000, error, (ptrdiff_t)offset);
}

static void of_large(bool error, size_t offset) {
    at_offset(4 << 20, error, (ptrdiff_t)offset);
}

static void of_calloc(bool error, size_t offset) {
    char *obj = take_zeroed(10, 100);
    drop(obj + (error ? offset : 0));
}

static void of_aligned(bool error, size_t alignment) {
    char *obj = take_aligned(alignment, 4 * alignment);
    drop(obj + (error ? alignment : 0));
}

static void past_the_end(bool error, size_t size) {
    char *obj = take(size);
    drop(error ? (char *)hide(obj) + size : obj);
}

/* Both neighbours are live, so the pointer is inside the first of them. */
static void between_live(bool error, size_t size) {
    void *objs[32];
    take_many(objs, 32, size);
    misuse_pair near = closest(objs, 32);
    if (error)
        drop((char *)objs[near.high] - 16);
    drop_many(objs, 32);
}

static void after_parsing(bool error, size_t arg) {
    char *text = strdup("      key = value"), *at = text;
    (void)arg;
    while (error && *at == ' ')
        at++;
    drop(at);
}

static void resized_inside(bool error, size_t offset) {
    char *obj = take(200);
    drop(resize(obj + (error ? offset : 0), 300));
}

static void resized_inside_large(bool error, size_t offset) {
    char *obj = take(4 << 20);
    drop(resize(obj + (error ? offset : 0), 5 << 20));
}

static void usable_inside(bool error, size_t offset) {
    char *obj = take(200);
    usable(obj + (error ? offset : 0));
    drop(obj);
}

static void usable_inside_large(bool error, size_t offset) {
    char *obj = take(4 << 20);
    usable(obj + (error ? offset : 0));
    drop(obj);
}

static void drop_it(void *obj) {
    drop(obj);
}

static void by_a_thread(bool error, size_t offset) {
    char *obj = take(500);
    in_thread(drop_it, obj + (error ? offset : 0));
}

#define INSIDE(name, run, arg)  {name, "interior free", "ledger", SURE, run, arg}
#define CROOKED(name, run, arg) {name, "misaligned free", "ledger", SURE, run, arg}
#define OUTSIDE(name, run, arg) {name, "interior free|invalid free|double free", "ledger", SURE, run, arg}
static const misuse_case cases[] = {
    CROOKED("free_inside_at_1", of_64, 1),
    CROOKED("free_inside_at_8", of_64, 8),
    INSIDE("free_inside_at_16", of_64, 16),
    INSIDE("free_inside_at_48", of_64, 48),
    CROOKED("free_inside_at_the_last_byte", of_64, 63),
    OUTSIDE("free_before_by_16", of_64_before, 16),
    CROOKED("free_before_by_1", of_64_before, 1),
    OUTSIDE("free_past_the_end", past_the_end, 64),
    OUTSIDE("free_past_the_end_of_a_page", past_the_end, 4096),
    OUTSIDE("free_past_the_end_large", past_the_end, 4 << 20),
    INSIDE("free_between_live_objects", between_live, 112),
    INSIDE("free_inside_a_page_sized", of_a_page, 2048),
    INSIDE("free_inside_medium_at_16", of_medium, 16),
    INSIDE("free_inside_medium_at_a_page", of_medium, 8192),
    CROOKED("free_inside_medium_misaligned", of_medium, 20001),
    INSIDE("free_inside_large_at_16", of_large, 16),
    INSIDE("free_inside_large_at_a_page", of_large, 4096),
    INSIDE("free_inside_large_at_2_mib", of_large, 2 << 20),
    CROOKED("free_inside_large_misaligned", of_large, 1000001),
    INSIDE("free_inside_calloc", of_calloc, 480),
    INSIDE("free_inside_aligned_64", of_aligned, 64),
    INSIDE("free_inside_aligned_4096", of_aligned, 4096),
    INSIDE("free_inside_aligned_1_mib", of_aligned, 1 << 20),
    CROOKED("free_after_parsing", after_parsing, 0),
    INSIDE("free_inside_by_a_thread", by_a_thread, 32),
    {"realloc_inside_at_16", "invalid realloc", "realloc", SURE, resized_inside, 16},
    {"realloc_inside_at_8", "invalid realloc", "realloc", SURE, resized_inside, 8},
    {"realloc_inside_large", "invalid realloc", "realloc", SURE, resized_inside_large, 4096},
    {"usable_size_inside_at_16", "invalid usable size", "usable", SURE, usable_inside, 16},
    {"usable_size_inside_at_1", "invalid usable size", "usable", SURE, usable_inside, 1},
    {"usable_size_inside_large", "invalid usable size", "usable", SURE, usable_inside_large, 65536},
};
MISUSE_GROUP(cwe761_not_start, "761", cases);
