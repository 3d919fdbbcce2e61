/* crowd.c: see crowd.h. */
#include "tests/stress/crowd.h"

#include "include/hakmem.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OWN = 48, SHARED = 64, LIFE = 1500, BATCH = 50, PAUSE_US = 500, PAGE = 4096 };

static _Atomic bool stop;
static unsigned threads;
static pthread_t thread_of[CROWD_MOST];

uint64_t crowd_draw(uint64_t *seed) {
    uint64_t z = *seed += 0x9e3779b97f4a7c15u; /* splitmix64, Steele et al. 2014 */
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* 0 bytes to 4 MiB; every power of two as often as the others, large ones less often. */
static size_t draw_size(uint64_t *seed) {
    unsigned shift =
        crowd_draw(seed) % 8 != 0 ? (unsigned)(crowd_draw(seed) % 12) : (unsigned)(crowd_draw(seed) % 22);
    return crowd_draw(seed) % ((size_t)2 << shift);
}

/* Its first and last bytes are written: an object that is passed on keeps its contents. */
static void *written(char *obj, size_t size) {
    if (obj != NULL && size != 0) {
        obj[0] = 'a';
        obj[size - 1] = 'z';
    }
    return obj;
}

static void *make(uint64_t *seed) {
    size_t size = draw_size(seed);
    void *obj = NULL;
    switch (crowd_draw(seed) % 8) {
    case 0:
        return written(hak_calloc(1, size), size);
    case 1:
        if (hak_posix_memalign(&obj, (size_t)16 << crowd_draw(seed) % 10, size) != 0)
            return NULL;
        return written(obj, size);
    default:
        return written(hak_malloc(size), size);
    }
}

/* NULL: the old object is unchanged. */
static void *resize(uint64_t *seed, void *obj) {
    size_t size = 1 + draw_size(seed);
    void *grown = hak_realloc(obj, size);
    return grown != NULL ? written(grown, size) : obj;
}

/* Objects on their way from any thread to any other. No lock: a forked child might find it taken. */
static void *_Atomic shared[SHARED];
static void *swap(unsigned place, void *obj) {
    return atomic_exchange_explicit(&shared[place], obj, memory_order_acq_rel);
}

void crowd_work(uint64_t seed, unsigned steps) {
    void *own[OWN] = {NULL};
    for (unsigned i = 0; i < steps && !atomic_load_explicit(&stop, memory_order_relaxed); i++) {
        void **place = &own[crowd_draw(&seed) % OWN];
        uint64_t what = crowd_draw(&seed) % 8;
        if (what == 0)
            *place = swap((unsigned)(crowd_draw(&seed) % SHARED), *place);
        else if (*place == NULL)
            *place = make(&seed);
        else if (what == 1)
            *place = resize(&seed, *place);
        else {
            hak_free(*place);
            *place = NULL;
        }
        if (i % BATCH == 0)
            usleep(PAUSE_US); /* lets other threads have their turn on a machine with few processors */
    }
    for (unsigned i = 0; i < OWN; i++)
        hak_free(own[i]);
}

static void *live(void *number) {
    crowd_work((uintptr_t)number, LIFE);
    return NULL;
}

/* One thread after the other, each with a cache of its own. */
static void *lives(void *number) {
    for (uintptr_t i = 1; !atomic_load_explicit(&stop, memory_order_relaxed); i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, live, (void *)((uintptr_t)number * 1000 + i)) != 0)
            abort();
        pthread_join(thread, NULL);
    }
    return NULL;
}

void crowd_start(unsigned count) {
    atomic_store(&stop, false);
    threads = count;
    for (uintptr_t i = 0; i < threads; i++)
        if (pthread_create(&thread_of[i], NULL, lives, (void *)(i + 1)) != 0)
            abort();
}

void crowd_stop(void) {
    atomic_store(&stop, true);
    for (unsigned i = 0; i < threads; i++)
        pthread_join(thread_of[i], NULL);
    for (unsigned i = 0; i < SHARED; i++)
        hak_free(swap(i, NULL));
    atomic_store(&stop, false);
}
