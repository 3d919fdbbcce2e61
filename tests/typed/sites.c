/* sites.c: 32 call sites of a program ask for objects of one size: which of them share memory with which others,
 * over several rounds? Prints the number of groups of sites that share no memory. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SITES = 32, OBJECTS = 100, ROUNDS = 6, SIZE = 64, GRANULES = 1 << 16 };

/* Volatile, so that malloc is called, not jumped to: after a jump its caller would be main. */
#define SITE(n)                                                                                              \
    __attribute__((noinline)) static void *site_##n(void) {                                                  \
        void *volatile obj = malloc(SIZE + (n) % 2);                                                         \
        return obj;                                                                                          \
    }
#define EIGHT(DO, n) DO(n##0) DO(n##1) DO(n##2) DO(n##3) DO(n##4) DO(n##5) DO(n##6) DO(n##7)
#define ALL(DO)      EIGHT(DO, 1) EIGHT(DO, 2) EIGHT(DO, 3) EIGHT(DO, 4)
ALL(SITE)
#define NAME(n) site_##n,
static void *(*const sites[SITES])(void) = {ALL(NAME)};

static int parent[SITES];
static int root(int site) {
    return parent[site] == site ? site : (parent[site] = root(parent[site]));
}

/* The call site that first had an object in the granule. */
static struct {
    uintptr_t granule;
    int site;
} table[GRANULES];

static void note(const void *obj, int site) {
    uintptr_t granule = (uintptr_t)obj >> 16;
    size_t at = granule * 0x9e3779b97f4a7c15ull >> 48;
    while (table[at].granule != 0 && table[at].granule != granule)
        at = (at + 1) % GRANULES;
    if (table[at].granule == granule) {
        parent[root(site)] = root(table[at].site);
        return;
    }
    table[at].granule = granule;
    table[at].site = site;
}

int main(void) {
    static void *objs[SITES][OBJECTS];
    int groups = 0;
    for (int i = 0; i < SITES; i++)
        parent[i] = i;
    for (int round = 0; round < ROUNDS; round++) {
        for (int j = 0; j < OBJECTS; j++)
            for (int i = 0; i < SITES; i++) {
                objs[i][j] = sites[i]();
                if (round % 2 == 1) /* an object that realloc moves stays with its call site */
                    objs[i][j] = realloc(objs[i][j], 3 * SIZE);
                memset(objs[i][j], i, SIZE);
                note(objs[i][j], i);
            }
        for (int j = 0; j < OBJECTS; j++)
            for (int i = 0; i < SITES; i++)
                free(objs[(i + round) % SITES][j]);
    }
    for (int i = 0; i < SITES; i++)
        groups += root(i) == i;
    printf("%d\n", groups);
    return 0;
}
