/* surface_locked.c: a program that locks its objects in memory and frees them locked. It can read and write its
 * later objects, large or small, from the first byte to the last; memory from calloc is zero. */
#include "tests/surface/want.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { ROUNDS = 40, SPANS = 4, AGAIN = 12 };
static const size_t sizes[] = {8192, 100000, 600000, 1 << 20};

static char *filled(size_t size, int with) {
    char *obj = malloc(size);
    WANT(obj != NULL);
    memset(obj, with, size);
    return obj;
}

static char *resized(char *obj, size_t size) {
    char *moved = realloc(obj, size);
    WANT(moved != NULL);
    return moved;
}

/* At the limit of locked memory nothing more is locked, which changes nothing else. */
static void lock_and_free(size_t size) {
    char *locked = filled(size, 1), *between = filled(size, 2);
    (void)mlock(locked, size);
    locked = resized(locked, size + size / 2);
    WANT(locked[0] == 1 && locked[size - 1] == 1);
    memset(locked, 1, size + size / 2);
    locked = resized(locked, size / 3);
    WANT(locked[size / 3 - 1] == 1);
    free(locked);
    free(between);
}

static void use(size_t size) {
    for (int i = 0; i < AGAIN; i++) {
        char *zeros = calloc(1, size + (size_t)i * 5000);
        WANT(zeros != NULL);
        for (size_t at = 0; at < size; at += 512)
            WANT(zeros[at] == 0);
        memset(zeros, 3, size + (size_t)i * 5000);
        free(zeros);
    }
}

int main(void) {
    for (int round = 0; round < ROUNDS; round++) {
        lock_and_free(sizes[round % SPANS]);
        use(sizes[round % SPANS]);
        use(2 * sizes[round % SPANS]);
    }
    return 0;
}
