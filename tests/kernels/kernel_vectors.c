/* kernel_vectors.c: vectors that grow by realloc, by several factors and side by side, keep their contents; and
 * memory that other threads have just mapped stays unchanged. If a page move unmaps its destination and then fails,
 * there is a fault here, or other threads' bytes appear. */
#include "kernel_check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

enum { VECTORS = 4, LARGEST = 12 << 20, ADD = 1000, MAPPERS = 2, MAPPING = 256 << 10 };

typedef struct vector {
    unsigned char *at;
    size_t size, room;
} vector;

static const unsigned factors[][2] = {{3, 2}, {2, 1}, {9, 8}, {5, 4}}; /* numerator, denominator */

static size_t grown(size_t room, size_t need, const unsigned factor[2]) {
    room = room < 4096 ? 4096 : room;
    while (room < need)
        room = room / factor[1] * factor[0];
    return room;
}

static void append(vector *it, unsigned which, const unsigned factor[2]) {
    if (it->size + ADD > it->room) {
        it->room = grown(it->room, it->size + ADD, factor);
        it->at = realloc(it->at, it->room);
        CHECK(it->at != NULL);
    }
    memset(it->at + it->size, (int)(it->size / ADD + which), ADD);
    it->size += ADD;
}

static void expect_contents(const vector *it, unsigned which) {
    for (size_t at = 0; at < it->size; at += ADD) {
        unsigned char want = (unsigned char)(at / ADD + which);
        CHECK(it->at[at] == want);
        CHECK(memcmp(it->at + at, it->at + at + 1, ADD - 1) == 0);
    }
}

static void side_by_side(unsigned vectors, const unsigned factor[2]) {
    vector all[VECTORS] = {{NULL, 0, 0}};
    while (all[0].size < LARGEST / vectors)
        for (unsigned i = 0; i < vectors; i++)
            append(&all[i], i, factor);
    for (unsigned i = 0; i < vectors; i++) {
        expect_contents(&all[i], i);
        all[i].at = realloc(all[i].at, all[i].size /= 3); /* and shrink */
        CHECK(all[i].at != NULL);
        all[i].size -= all[i].size % ADD;
        expect_contents(&all[i], i);
    }
    for (unsigned i = 0; i < vectors; i++)
        free(all[i].at);
}

static atomic_bool stop;

/* Maps memory, writes, checks, unmaps: nobody else may have the memory meanwhile. */
static void *maps(void *arg) {
    for (uint64_t round = (uintptr_t)arg << 32; !stop; round++) {
        char *mine = mmap(NULL, MAPPING, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (mine == MAP_FAILED)
            continue; /* a limit */
        for (size_t at = 0; at < MAPPING; at += 4096)
            CHECK(*(uint64_t *)(mine + at) == 0);
        kernel_paint(mine, round, 0, MAPPING);
        usleep(100);
        CHECK(kernel_is_painted(mine, round, MAPPING));
        CHECK(munmap(mine, MAPPING) == 0);
    }
    return NULL;
}

static void *grows(void *arg) {
    side_by_side(2, factors[(uintptr_t)arg]);
    return NULL;
}

int main(void) {
    for (unsigned i = 0; i < sizeof factors / sizeof *factors; i++)
        side_by_side(i == 1 ? 1 : 3, factors[i]);
    pthread_t mappers[MAPPERS], growers[VECTORS];
    for (uintptr_t i = 0; i < MAPPERS; i++)
        CHECK(pthread_create(&mappers[i], NULL, maps, (void *)i) == 0);
    for (uintptr_t i = 0; i < VECTORS; i++)
        CHECK(pthread_create(&growers[i], NULL, grows, (void *)i) == 0);
    for (unsigned i = 0; i < VECTORS; i++)
        CHECK(pthread_join(growers[i], NULL) == 0);
    stop = true;
    for (unsigned i = 0; i < MAPPERS; i++)
        CHECK(pthread_join(mappers[i], NULL) == 0);
    return kernel_passed();
}
