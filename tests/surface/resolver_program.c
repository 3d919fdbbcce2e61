/* resolver_program.c: uses resolver_library.c. */
#include "tests/surface/resolver_library.h"

#include <stdio.h>
#include <stdlib.h>

int main(void) {
    free(malloc(10));
    printf("%d\n", resolver_ask());
    resolver_end();
    return 0;
}
