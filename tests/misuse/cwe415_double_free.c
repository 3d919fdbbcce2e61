/* cwe415_double_free.c: an object is freed a second time (CWE-415). */
#include "misuse.h"

#include <pthread.h>

static void twice(bool error, size_t size) {
    void *obj = take(size);
    drop(obj);
    if (error)
        drop(obj);
}

static void calloc_twice(bool error, size_t size) {
    void *obj = take_zeroed(1, size);
    drop(obj);
    if (error)
        drop(obj);
}

static void aligned_twice(bool error, size_t alignment) {
    void *obj = take_aligned(alignment, 4 * alignment);
    drop(obj);
    if (error)
        drop(obj);
}

static void strdup_twice(bool error, size_t arg) {
    char *text = strdup("a string that libc allocates");
    (void)arg;
    drop(text);
    if (error)
        drop(text);
}

static void with_one_between(bool error, size_t size) {
    void *first = take(size), *second = take(size);
    drop(first);
    drop(second);
    if (error)
        drop(first);
}

/* Every second object stays live, so no slab can die. */
static void with_many_between(bool error, size_t size) {
    static void *objs[4000];
    take_many(objs, 4000, size);
    for (size_t i = 0; i < 4000; i += 2)
        drop(objs[i]);
    if (error)
        drop(objs[1000]);
}

static void after_its_slab_died(bool error, size_t size) {
    static void *objs[4000];
    take_many(objs, 4000, size);
    drop_many(objs, 4000);
    if (error)
        drop(objs[1000]);
}

static void after_churn(bool error, size_t rounds) {
    void *obj = take(64);
    drop(obj);
    churn(64, rounds);
    if (error)
        drop(obj);
}

static void after_other_sizes(bool error, size_t size) {
    void *obj = take(size), *others[64];
    drop(obj);
    take_many(others, 64, 3 * size);
    drop_many(others, 64);
    if (error)
        drop(obj);
}

static void drop_it(void *obj) {
    drop(obj);
}

static void in_two_threads(bool error, size_t size) {
    void *obj = take(size);
    in_thread(drop_it, obj);
    if (error)
        drop(obj);
}

static void again_in_a_thread(bool error, size_t size) {
    void *obj = take(size);
    drop(obj);
    if (error)
        in_thread(drop_it, obj);
}

static void by_two_other_threads(bool error, size_t size) {
    void *obj = take(size);
    in_thread(drop_it, obj);
    if (error)
        in_thread(drop_it, obj);
}

static void make_and_drop(void *out) {
    *(void **)out = take(64);
    drop(*(void **)out);
}

static void after_its_thread_ended(bool error, size_t arg) {
    void *obj = NULL;
    (void)arg;
    in_thread(make_and_drop, &obj);
    if (error)
        drop(obj);
}

static pthread_barrier_t together;
static void *raced[256];

static void *race(void *arg) {
    for (size_t i = 0; i < 256; i++) {
        pthread_barrier_wait(&together);
        if (arg || i % 2)
            drop(raced[i]);
    }
    return NULL;
}

/* The twin gives the odd objects to one thread and the even ones to the other. */
static void in_a_race(bool error, size_t size) {
    pthread_t thread;
    take_many(raced, 256, size);
    pthread_barrier_init(&together, NULL, 2);
    pthread_create(&thread, NULL, race, error ? &thread : NULL);
    for (size_t i = 0; i < 256; i++) {
        pthread_barrier_wait(&together);
        if (error || i % 2 == 0)
            drop(raced[i]);
    }
    pthread_join(thread, NULL);
}

static void in_the_child_as_well(bool error, size_t size) {
    void *obj = take(size);
    if (error)
        drop(obj);
    in_child(drop_it, obj);
    if (!error)
        drop(obj);
}

static void after_realloc_moved(bool error, size_t size) {
    void *obj = take(size), *moved = resize(obj, 256 * size);
    if (error && moved != obj)
        drop(obj);
    drop(moved);
}

static void after_realloc_to_zero(bool error, size_t size) {
    void *obj = take(size);
    if (resize(obj, 0) == NULL && error)
        drop(obj);
}

static void *global_obj;

static void drop_global(void) {
    drop(global_obj);
}

static void at_exit(bool error, size_t size) {
    global_obj = take(size);
    atexit(drop_global);
    if (error)
        atexit(drop_global);
}

#define ROW(name, run, arg) {name, "double free", "ledger", SURE, run, arg}
static const misuse_case cases[] = {
    ROW("double_free_of_nothing_sized", twice, 0),
    ROW("double_free_tiny", twice, 8),
    ROW("double_free_small", twice, 200),
    ROW("double_free_of_a_page", twice, 4096),
    ROW("double_free_medium", twice, 40000),
    ROW("double_free_large", twice, 1 << 20),
    ROW("double_free_huge", twice, 64 << 20),
    ROW("double_free_calloc", calloc_twice, 333),
    ROW("double_free_aligned_64", aligned_twice, 64),
    ROW("double_free_aligned_4096", aligned_twice, 4096),
    ROW("double_free_aligned_1_mib", aligned_twice, 1 << 20),
    ROW("double_free_strdup", strdup_twice, 0),
    ROW("double_free_with_one_between", with_one_between, 48),
    ROW("double_free_with_many_between", with_many_between, 48),
    {"double_free_after_all_neighbours_were_freed", "double free|invalid free", "ledger", SURE,
     after_its_slab_died, 500},
    {"double_free_after_1000_rounds", "double free", "quarantine", CHANCE, after_churn, 1000},
    ROW("double_free_after_other_sizes", after_other_sizes, 100),
    ROW("double_free_first_by_a_thread", in_two_threads, 64),
    ROW("double_free_then_by_a_thread", again_in_a_thread, 64),
    ROW("double_free_by_two_other_threads", by_two_other_threads, 64),
    ROW("double_free_large_by_a_thread", again_in_a_thread, 3 << 20),
    ROW("double_free_after_its_thread_ended", after_its_thread_ended, 0),
    ROW("double_free_in_a_race", in_a_race, 64),
    ROW("double_free_in_a_race_large", in_a_race, 300000),
    ROW("double_free_in_the_child_as_well", in_the_child_as_well, 64),
    ROW("double_free_after_realloc_moved", after_realloc_moved, 4000),
    ROW("double_free_after_realloc_to_zero", after_realloc_to_zero, 100),
    ROW("double_free_at_exit", at_exit, 64),
};
MISUSE_GROUP(cwe415_double_free, "415", cases);
