/* kernel_moves.c: realloc of objects that have to move, from and to places that lie in several mappings of the
 * kernel: at the size from which huge pages are requested, beside purged and guarded neighbours, in forked children,
 * and after limits fell. realloc returns the object with its contents, or NULL and the object is unchanged. */
#include "kernel_check.h"

#include <errno.h>
#include <malloc.h>
#include <string.h>
#include <sys/resource.h>

enum { OBJECTS = 12, STEPS = 150, MIB = 1 << 20 };

typedef struct object {
    char *at;
    size_t size;
} object;

/* Makes an object of `size` bytes move: a small neighbour lies behind it. Returns how often realloc returned NULL. */
static unsigned grow_in_steps(size_t size, unsigned steps) {
    unsigned refused = 0;
    char *obj = malloc(size), *stops[64];
    CHECK(obj != NULL && steps <= 64);
    kernel_paint(obj, size, 0, size);
    for (unsigned i = 0; i < steps; i++) {
        stops[i] = malloc(300 << 10);
        if (stops[i] != NULL)
            stops[i][0] = 1;
        size_t more = size + size / 2 + 4096 * i;
        errno = 0;
        char *moved = realloc(obj, more);
        if (moved == NULL) {
            CHECK(errno == ENOMEM);
            refused++;
            more = size;
        } else
            obj = moved;
        CHECK(kernel_is_painted(obj, more == size ? size : size, size));
        kernel_paint(obj, more, 0, more);
        size = more;
        CHECK(kernel_is_painted(obj, size, size));
    }
    for (unsigned i = 0; i < steps; i++)
        free(stops[i]);
    free(obj);
    return refused;
}

/* Objects of 256 KiB to 20 MiB come, go, grow and shrink at random. */
static void walk(uint64_t seed) {
    object all[OBJECTS] = {{NULL, 0}};
    for (unsigned i = 0; i < STEPS; i++) {
        unsigned which = (unsigned)(kernel_draw(&seed) % OBJECTS);
        object *it = &all[which];
        size_t size = (256 << 10) + (size_t)(kernel_draw(&seed) % (i % 10 == 0 ? 20 * MIB : 3 * MIB));
        if (it->at == NULL || kernel_draw(&seed) % 4 == 0) {
            free(it->at);
            it->at = malloc(size);
            CHECK(it->at != NULL);
            it->size = 0;
        } else {
            it->at = realloc(it->at, size);
            CHECK(it->at != NULL);
        }
        CHECK(kernel_is_painted(it->at, which, it->size < size ? it->size : size));
        it->size = size;
        kernel_paint(it->at, which, 0, size);
        if (i % 50 == 49)
            malloc_trim(0);
    }
    for (unsigned i = 0; i < OBJECTS; i++) {
        CHECK(kernel_is_painted(all[i].at, i, all[i].size));
        free(all[i].at);
    }
}

static void expect_child(void (*work)(void)) {
    fflush(stdout);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        work();
        _exit(0);
    }
    CHECK(kernel_child_ends(child, 0));
}

static void walks(void) {
    walk(7);
}

static void lower(int resource, size_t bytes) {
    struct rlimit limit = {bytes, bytes};
    CHECK(setrlimit(resource, &limit) == 0);
}

/* The page move of a large object meets the limit: it is refused, or served, and nothing is lost. */
static void address_space_falls(void) {
    char *obj = malloc(4 * MIB), *stop = malloc(300 << 10);
    CHECK(obj != NULL && stop != NULL);
    kernel_paint(obj, 1, 0, 4 * MIB);
    stop[0] = 1;
    lower(RLIMIT_AS, 64 * MIB);
    for (size_t size = 6 * MIB; size < (size_t)256 * MIB; size += size / 2) {
        char *moved = realloc(obj, size);
        obj = moved == NULL ? obj : moved;
        CHECK(kernel_is_painted(obj, 1, 4 * MIB));
        if (moved != NULL)
            obj[size - 1] = 1;
    }
    free(obj);
    free(stop);
}
static void data_falls(void) {
    char *obj = malloc(4 * MIB), *stop = malloc(300 << 10);
    CHECK(obj != NULL && stop != NULL);
    kernel_paint(obj, 1, 0, 4 * MIB);
    stop[0] = 1;
    lower(RLIMIT_DATA, 32 * MIB);
    unsigned refused = 0;
    for (size_t size = 6 * MIB; size < (size_t)256 * MIB; size += size / 2) {
        char *moved = realloc(obj, size);
        refused += moved == NULL;
        obj = moved == NULL ? obj : moved;
        CHECK(kernel_is_painted(obj, 1, 4 * MIB));
    }
    CHECK(refused > 0);
    free(obj);
    obj = malloc(4 * MIB); /* freed memory can be had again */
    CHECK(obj != NULL);
    free(obj);
    free(stop);
}

int main(void) {
    CHECK(grow_in_steps(11 * MIB, 4) == 0); /* over the 12 MiB from which huge pages are requested */
    CHECK(grow_in_steps(MIB, 8) == 0);
    CHECK(grow_in_steps(300 << 10, 12) == 0);
    walk(1);
    expect_child(walks);
    expect_child(address_space_falls);
    expect_child(data_falls);
    walk(2);
    return kernel_passed();
}
