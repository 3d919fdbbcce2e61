/* macros.c: the macros of hakmem.h give each type a token of its own, by any compiler of C11. */
#include "include/hakmem.h"
#include "tests/surface/want.h"

#include <stdbool.h>

typedef struct node {
    struct node *next;
} node;
struct a_name_of_forty_characters_and_more {
    int x;
};
typedef struct point {
    int x, y;
} point;

static bool has_pointers(size_t token) {
    return token >> 63 != 0;
}

static void tokens(void) {
    const size_t all[] = {HAK_TYPE_TOKEN(node), HAK_TYPE_TOKEN(int), HAK_TYPE_TOKEN(struct point *),
                          HAK_TYPE_TOKEN(double), HAK_TYPE_TOKEN(unsigned char)};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        WANT(all[i] >> 32 != 0);
        for (size_t j = 0; j < i; j++)
            WANT(all[i] != all[j]);
    }
    WANT(has_pointers(HAK_TYPE_TOKEN(node)) && has_pointers(HAK_TYPE_TOKEN(char *)));
    WANT(!has_pointers(HAK_TYPE_TOKEN(int)) && !has_pointers(HAK_TYPE_TOKEN(double)));
    WANT(!has_pointers(HAK_DATA_TOKEN(point)) && HAK_DATA_TOKEN(point) >> 32 != 0);
    WANT(HAK_DATA_TOKEN(struct a_name_of_forty_characters_and_more) != HAK_DATA_TOKEN(point));
    WANT(HAK_TYPE_TOKEN(node) == HAK_TYPE_TOKEN(node));
}

/* In the hardened variant data and pointers are never in one 64 KiB. */
static void objects(void) {
    enum { MANY = 5000 };
    static void *data[MANY], *nodes[MANY];
    for (int i = 0; i < MANY; i++) {
        node *one = HAK_MALLOC_OF(node);
        one->next = nodes[i != 0 ? i - 1 : 0];
        nodes[i] = one;
        data[i] = HAK_CALLOC_OF(int, 2);
        WANT(data[i] != NULL && ((int *)data[i])[1] == 0);
    }
    for (int i = 0; i < MANY && hak_variant()[0] == 'h'; i++)
        for (int j = 0; j < MANY; j += 7)
            WANT((uintptr_t)nodes[i] >> 16 != (uintptr_t)data[j] >> 16);
    for (int i = 0; i < MANY; i++) {
        hak_free(nodes[i]);
        data[i] = HAK_REALLOC_OF(int, data[i], 3000);
        WANT(data[i] != NULL && ((int *)data[i])[1] == 0);
        hak_free(data[i]);
    }
}

int main(void) {
    tokens();
    objects();
    return 0;
}
