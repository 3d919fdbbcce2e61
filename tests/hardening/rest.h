/* rest.h: freed slots that rest, and for how many pairs of malloc and free: what the tests of rings and of common rings
 * share. */
#ifndef HAK_TESTS_REST_H
#define HAK_TESTS_REST_H

#include "tests/unit/unit.h"

#include "hardening/canary.h"
#include "hardening/ledger.h"
#include "include/hakmem.h"

#include <pthread.h>

enum { REST_VICTIMS = 8 };

/* Objects of up to so many bytes, and how many pairs of malloc and free they rest at least. */
static const struct rest_kind {
    size_t size;
    long least;
} rest_kinds[] = {{1, 1000},  {24, 1000},  {80, 1000},  {100, 1000},  {200, 1000},   {256, 1000},
                  {300, 400}, {512, 400},  {700, 400},  {1024, 400},  {2000, 100},   {4096, 100},
                  {6000, 32}, {12000, 32}, {30000, 32}, {40000, 600}, {100000, 600}, {250000, 600}};
enum { REST_KINDS = sizeof rest_kinds / sizeof rest_kinds[0] };

/* One call site for all: its first objects are sampled. */
static HAK_NOINLINE void *rest_make(size_t size) {
    void *obj = hak_malloc(size);
    assert_non_null(obj);
    return obj;
}

/* The same, but not a sampled object. */
static inline void *rest_make_slot(size_t size) {
    hak_place place;
    void *obj = rest_make(size);
    while (!hak_ledger_find(obj, &place)) {
        hak_free(obj);
        obj = rest_make(size);
    }
    return obj;
}

/* Pairs until the address has a new owner; `most` if it has none by then. */
static inline long rest_pairs_until(const void *stale, size_t size, long most) {
    for (long pairs = 0; pairs < most; pairs++) {
        void *obj = rest_make(size);
        if (obj == stale)
            return pairs;
        hak_free(obj);
    }
    return most;
}

static inline void rest_warm(size_t size) {
    for (int i = 0; i < 16; i++)
        hak_free(rest_make(size));
}

/* A slot that was just freed, with some others. */
static inline void *rest_victim(size_t size) {
    void *objs[REST_VICTIMS];
    for (int i = 0; i < REST_VICTIMS; i++)
        objs[i] = rest_make_slot(size);
    for (int i = 0; i < REST_VICTIMS; i++)
        hak_free(objs[i]);
    return objs[REST_VICTIMS / 2];
}

static inline void rest_expect(const void *stale, unsigned kind) {
    long pairs = rest_pairs_until(stale, rest_kinds[kind].size, rest_kinds[kind].least);
    if (pairs < rest_kinds[kind].least)
        fail_msg("%zu bytes have a new owner after %ld pairs", rest_kinds[kind].size, pairs);
}

/* Runs body(what) in a thread to its end. False: there is no thread. Any thread may call it. */
static inline bool rest_in_a_thread(void *(*body)(void *), void *what) {
    pthread_t thread;
    return pthread_create(&thread, NULL, body, what) == 0 && pthread_join(thread, NULL) == 0;
}

#endif
