/* surface_resolver.c: the program's IFUNC resolver, which runs while the program is being relocated, allocates. In
 * main its objects are still there and can be freed, and nothing else of it is left. */
#include "include/hakmem.h"
#include "tests/surface/want.h"

#include <stdlib.h>
#include <string.h>

#pragma weak hak_stats_read

enum { OBJECTS = 300, STEP = 997 };
static unsigned char *kept[OBJECTS];

static int implementation(void) {
    return 7;
}

static int (*resolve(void))(void) {
    for (int i = 0; i < OBJECTS; i++) {
        void *gone = malloc((size_t)i);
        kept[i] = calloc(1, 1 + (size_t)i * STEP);
        kept[i] = realloc(kept[i], 1 + (size_t)i * STEP / 2);
        memset(kept[i], i, 1 + (size_t)i * STEP / 2);
        free(gone);
    }
    return implementation;
}

int chosen(void) __attribute__((ifunc("resolve")));

int main(void) {
    WANT(chosen() == 7);
    for (int i = 0; i < OBJECTS; i++) {
        WANT(kept[i][0] == (unsigned char)i && kept[i][(size_t)i * STEP / 2] == (unsigned char)i);
        free(kept[i]);
    }
    hak_stats now = {.caches = 1};
    if (hak_stats_read != NULL)
        hak_stats_read(&now);
    WANT(now.caches == 1);
    return 0;
}
