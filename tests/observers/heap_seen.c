/* heap_seen.c: a heap with known contents, for gdb_heap_test.py: `heap_seen wait` says "ready" and waits for a line,
 * `heap_seen abort` ends by SIGABRT. */
#include "tests/surface/want.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

#pragma weak hak_malloc_token
void *hak_malloc_token(size_t size, size_t token);

enum { COUNT = 5000, SIZE = 1000, LARGE = 3000000, GONE = 2000000 };

/* The objects that the test asks gdb about. */
char *volatile many[COUNT];
char *volatile live_slot, *volatile freed_slot, *volatile live_large, *volatile freed_large,
                                                                          *volatile nothing;
char *volatile sampled, *volatile freed_sampled, *volatile typed, *volatile nobodys;
int global;

static int ready[2], over[2];

/* Frees an object and goes on: in the speed variant the object lies in this thread's cache. */
static void *helper(void *unused) {
    char byte = 0;
    free(freed_slot);
    WANT(write(ready[1], &byte, 1) == 1 && read(over[0], &byte, 1) == 1);
    return unused;
}

static void make(void) {
    for (int i = 0; i < COUNT; i++)
        many[i] = memset(malloc(SIZE), 1, SIZE);
    live_slot = many[COUNT - 1000];
    freed_slot = many[COUNT - 2000];
    live_large = memset(malloc(LARGE), 1, LARGE);
    freed_large = memset(malloc(GONE), 1, GONE);
    free(freed_large);
    nothing = malloc(0);
    sampled = memset(malloc(500), 1, 500); /* the first object of a call site is sampled */
    freed_sampled = memset(malloc(600), 1, 600);
    free(freed_sampled);
    for (int i = 0; i < 100; i++) /* the first ones are sampled */
        typed = hak_malloc_token != NULL ? hak_malloc_token(200, 1234567) : malloc(200);
}

int main(int argc, char **argv) {
    pthread_t thread;
    char byte;
    int here;
    make();
    nobodys = (char *)&here;
    WANT(argc > 1 && pipe(ready) == 0 && pipe(over) == 0);
    WANT(pthread_create(&thread, NULL, helper, NULL) == 0 && read(ready[0], &byte, 1) == 1);
    puts("ready");
    fflush(stdout);
    if (strcmp(argv[1], "abort") == 0)
        abort();
    return read(STDIN_FILENO, &byte, 1) < 0;
}
