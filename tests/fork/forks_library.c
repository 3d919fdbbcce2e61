/* forks_library.c: see forks_library.h. Its constructor may run before the allocator's or after it; it also begins
 * threads. */
#include "tests/fork/forks_library.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { SIZES = 40, THREADS = 40 };

int library_before, library_after;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void allocate(void) {
    void *objects[SIZES];
    for (size_t i = 0; i < SIZES; i++)
        if ((objects[i] = malloc(i * i * i * 7)) == NULL)
            abort();
    for (size_t i = 0; i < SIZES; i++)
        free(objects[i]);
}

void library_work(void) {
    pthread_mutex_lock(&lock);
    allocate();
    pthread_mutex_unlock(&lock);
}

static void before(void) {
    allocate();
    pthread_mutex_lock(&lock);
    allocate();
    library_before++;
}
static void after(void) {
    allocate();
    pthread_mutex_unlock(&lock);
    library_after++;
}

static void *thread(void *unused) {
    allocate();
    return unused;
}

/* Starts the threads one after the other: each gets the cache of the one before. In the case
 * `interrupted` the process has no other thread. */
__attribute__((constructor)) static void begin(int argc, char **argv) {
    pthread_t one;
    bool alone = argc == 2 && strcmp(argv[1], "interrupted") == 0;
    pthread_atfork(alone ? NULL : before, alone ? NULL : after, alone ? NULL : after);
    for (int i = 0; i < THREADS && !alone; i++)
        if (pthread_create(&one, NULL, thread, NULL) != 0 || pthread_join(one, NULL) != 0)
            abort();
}
