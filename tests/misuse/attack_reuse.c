/* attack_reuse.c: attacks that damage nothing of the allocator. A dangling pointer is enough once its memory has a
 * new owner (reclaim), and so is a size that wraps around. The attack wins when a dangling pointer sees what a new
 * owner wrote. Until then nothing happens that could be detected; it counts that memory does not come back too soon. */
#include "misuse.h"

static void *owners[8192];

/* A dangling pointer is a second pointer to any live object that has the same address. */
static void check_reclaimed(const void *stale, size_t length, size_t count) {
    for (size_t i = 0; i < count; i++)
        if ((uintptr_t)owners[i] - (uintptr_t)stale < length)
            primitive("a dangling pointer into a live object");
}

static void reclaim(bool error, size_t size) {
    void *stale = take(size);
    drop(stale);
    take_many(owners, 1, size);
    if (error)
        check_reclaimed(stale, size, 1);
}

static void reclaim_by_spray(bool error, size_t count) {
    void *stale = take(64);
    drop(stale);
    take_many(owners, count, 64);
    if (error)
        check_reclaimed(stale, 64, count);
}

static void reclaim_large_by_spray(bool error, size_t size) {
    void *stale = take(size);
    drop(stale);
    take_many(owners, 16, size);
    if (error)
        check_reclaimed(stale, size, 16);
}

/* The attacker frees objects as well, to push the slot out of any structure that delays it. */
static void reclaim_after_rounds(bool error, size_t rounds) {
    void *stale = take(64);
    drop(stale);
    for (size_t i = 0; i < rounds; i++) {
        owners[0] = take(64);
        if (error)
            check_reclaimed(stale, 64, 1);
        drop(owners[0]);
    }
}

static void reclaim_as_another_size(bool error, size_t size) {
    void *stale = take(size);
    drop(stale);
    for (size_t i = 0; i < 512; i++)
        owners[i] = take(8 + i);
    if (error)
        check_reclaimed(stale, size, 512);
}

/* The whole neighbourhood is freed, so that its memory may serve another class. */
static void reclaim_as_another_class(bool error, size_t size) {
    take_many(owners, 8192, size);
    void *stale = owners[4000];
    drop_many(owners, 8192);
    take_many(owners, 2048, 24 * size);
    if (error)
        check_reclaimed(stale, size, 2048);
}

static void spray_in_thread(void *arg) {
    (void)arg;
    take_many(owners, 1024, 64);
}

static void reclaim_by_a_thread(bool error, size_t arg) {
    void *stale = take(64);
    (void)arg;
    drop(stale);
    in_thread(spray_in_thread, NULL);
    if (error)
        check_reclaimed(stale, 64, 1024);
}

static void make_and_drop(void *out) {
    *(void **)out = take(64);
    drop(*(void **)out);
}

static void reclaim_from_an_ended_thread(bool error, size_t arg) {
    void *stale = NULL;
    (void)arg;
    in_thread(make_and_drop, &stale);
    take_many(owners, 64, 64);
    if (error)
        check_reclaimed(stale, 64, 64);
}

static void reclaim_after_realloc(bool error, size_t size) {
    void *stale = take(size), *moved = resize(stale, 200 * size);
    take_many(owners, 16, size);
    if (error && moved != stale)
        check_reclaimed(stale, size, 16);
}

/* This is no error of the program: the answer must be NULL; otherwise the object is far smaller than the request. */
static void sizes_that_wrap(bool error, size_t arg) {
    static const size_t sizes[] = {SIZE_MAX, SIZE_MAX - 7, SIZE_MAX - 15, SIZE_MAX - 4095,
                                   (size_t)PTRDIFF_MAX + 1};
    (void)arg;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        if (error && (take(sizes[i]) || take_zeroed(1, sizes[i]) || take_aligned(64, sizes[i])))
            primitive("an object smaller than its size");
    void *obj = take(64);
    if (error && resize(obj, SIZE_MAX - 15))
        primitive("an object smaller than its size");
    drop(obj);
}

static void products_that_wrap(bool error, size_t arg) {
    volatile size_t half = (size_t)1 << 33;
    (void)arg;
    if (error && (take_zeroed(half, half) || take_zeroed(SIZE_MAX / 16 + 2, 16) ||
                  reallocarray(NULL, half, (size_t)1 << 31 | 1)))
        primitive("an object smaller than its size");
    drop(take_zeroed(16, 16));
}

#define ROW(name, run, arg) {name, "", "quarantine", NOT_WON, run, arg}
static const misuse_case cases[] = {
    ROW("attack_reclaim_16", reclaim, 16),
    ROW("attack_reclaim_64", reclaim, 64),
    ROW("attack_reclaim_1000", reclaim, 1000),
    ROW("attack_reclaim_20000", reclaim, 20000),
    ROW("attack_reclaim_large", reclaim, 1 << 20),
    ROW("attack_reclaim_by_spray_of_16", reclaim_by_spray, 16),
    ROW("attack_reclaim_by_spray_of_512", reclaim_by_spray, 512),
    ROW("attack_reclaim_by_spray_of_8192", reclaim_by_spray, 8192),
    ROW("attack_reclaim_large_by_spray", reclaim_large_by_spray, 3 << 20),
    ROW("attack_reclaim_after_10_rounds", reclaim_after_rounds, 10),
    ROW("attack_reclaim_after_256_rounds", reclaim_after_rounds, 256),
    ROW("attack_reclaim_as_another_size", reclaim_as_another_size, 100),
    ROW("attack_reclaim_as_another_class", reclaim_as_another_class, 64),
    ROW("attack_reclaim_by_a_thread", reclaim_by_a_thread, 0),
    ROW("attack_reclaim_from_an_ended_thread", reclaim_from_an_ended_thread, 0),
    ROW("attack_reclaim_after_realloc", reclaim_after_realloc, 100),
    {"attack_sizes_that_wrap", "", "core", NOT_WON, sizes_that_wrap, 0},
    {"attack_products_that_wrap", "", "core", NOT_WON, products_that_wrap, 0},
};
MISUSE_GROUP(attack_reuse, "attack", cases);
