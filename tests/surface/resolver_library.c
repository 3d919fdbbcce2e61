/* resolver_library.c: a library with an IFUNC resolver that allocates while the dynamic linker relocates the
 * library. */
#include "tests/surface/resolver_library.h"

#include <stdlib.h>
#include <string.h>

static char *kept;

static int implementation(void) {
    return kept[50];
}

static int (*resolve(void))(void) {
    free(malloc(5000));
    kept = malloc(100);
    memset(kept, 5, 100);
    return implementation;
}

static int chosen(void) __attribute__((ifunc("resolve")));

int resolver_ask(void) {
    return chosen();
}

void resolver_end(void) {
    kept = realloc(kept, 200);
    free(kept);
}
