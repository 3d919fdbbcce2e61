/* forms.c: C's calls with tokens. See forms.h. With -DHAK_FEW only those that succeed. */
#include "forms.h"

#include <errno.h>
#include <stdlib.h>

/* The compiler assumes that malloc leaves errno alone. */
#define ERROR (*(volatile int *)&errno)

/* BSD's function, which libc lacks: for a program that expects it. */
void *reallocf(void *obj, size_t size);

static void all_forms(void) {
    size_t size = sizeof(node), page = 4096;
    free(good((node *)malloc(sizeof(node)), size, 16));
    node *nodes = (node *)calloc(3, sizeof(node));
    zero(nodes, 3 * size);
    nodes = (node *)realloc(nodes, 100 * sizeof(node));
    zero(nodes, 3 * size);
    nodes = (node *)reallocarray(nodes, 200, sizeof(node));
    nodes = (node *)reallocf(nodes, 300 * sizeof(node));
    zero(nodes, 3 * size);
    free(good(nodes, 300 * size, 16));
    free(good((node *)aligned_alloc(64, 64 * sizeof(node)), 64 * size,
              64)); /* a multiple: newer versions of valgrind require that */
    free(good((node *)memalign(128, sizeof(node)), size, 128));
    free(good((node *)valloc(sizeof(node)), size, page));
    free(good((node *)pvalloc(sizeof(node)), size, page));
    void *out = NULL;
    WANT(posix_memalign(&out, 256, sizeof(node)) == 0);
    free(good(out, size, 256));
}

#ifndef HAK_FEW
static void refusals(void) {
    volatile size_t most = SIZE_MAX, odd = 3;
    void *volatile out = (void *)&most;
    ERROR = 0;
    WANT((out = malloc(most)) == NULL && ERROR == ENOMEM);
    ERROR = 0;
    WANT((out = calloc(most, 2)) == NULL && ERROR == ENOMEM);
    node *volatile kept = malloc(sizeof(node));
    kept->number = 7;
    WANT((out = realloc(kept, most)) == NULL && ERROR == ENOMEM && kept->number == 7);
    WANT((out = reallocarray(kept, most, 2)) == NULL && kept->number == 7);
    WANT((out = reallocf(kept, most)) == NULL); /* and no longer kept */
    ERROR = 0;
    WANT((out = aligned_alloc(odd, 16)) == NULL && ERROR == EINVAL);
    WANT((out = pvalloc(most)) == NULL);
    void *same = NULL;
    ERROR = 0;
    WANT(posix_memalign(&same, odd, 16) == EINVAL && posix_memalign(&same, 64, most) == ENOMEM);
    WANT(same == NULL && ERROR == 0);
    WANT((out = realloc(malloc(100), 0)) == NULL);
}

/* Large objects too, some of them zeroed. */
static void sizes(void) {
    for (size_t size = 1; size < (size_t)64 << 20; size = size * 3 + 1) {
        char *obj = calloc(1, size);
        zero(obj, size < 4096 ? size : 4096);
        free(good(obj, size < 4096 ? size : 4096, 16));
        obj = (char *)realloc(malloc(size), size * 2);
        obj = (char *)realloc(good(obj, size * 2, 16), size / 2 + 1);
        free(obj);
        free(good(aligned_alloc(4096, size), size, 4096));
    }
}

#endif

int main(void) {
    all_forms();
#ifndef HAK_FEW
    refusals();
    sizes();
#endif
    return 0;
}
