/* kernel_forks.c: forks of a process whose threads allocate. Child and parent go on with a heap each. Objects from
 * before the fork are in both, and neither sees the other's writes, also in large objects and growing vectors. */
#include "kernel_check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

enum { THREADS = 4, FORKS = 12, OBJECTS = 40 };

static atomic_bool stop;
static char *before[OBJECTS];

static size_t size_of(unsigned i) {
    return i % 5 == 0 ? (size_t)(i + 1) * 200000 : (size_t)(i + 1) * 700;
}

static void *works(void *arg) {
    uint64_t seed = (uintptr_t)arg;
    while (!stop) {
        char *mine[30];
        for (unsigned i = 0; i < 30; i++) {
            size_t size = 8 + kernel_draw(&seed) % (i == 0 ? 2 << 20 : 5000);
            CHECK((mine[i] = malloc(size)) != NULL);
            kernel_paint(mine[i], i, 0, size);
        }
        for (unsigned i = 0; i < 30; i++)
            free(mine[i]);
        usleep(300);
    }
    return NULL;
}

/* Moves every object to twice its size, and frees half of them. */
static void live_on(uint64_t id) {
    for (unsigned i = 0; i < OBJECTS; i++) {
        CHECK(kernel_is_painted(before[i], i, size_of(i)));
        before[i] = realloc(before[i], 2 * size_of(i));
        CHECK(before[i] != NULL);
        CHECK(kernel_is_painted(before[i], i, size_of(i)));
        kernel_paint(before[i], id, 0, 2 * size_of(i));
    }
    for (unsigned i = 0; i < OBJECTS; i += 2)
        free(before[i]);
    for (unsigned i = 1; i < OBJECTS; i += 2)
        CHECK(kernel_is_painted(before[i], id, 2 * size_of(i)));
}

static void *in_the_child(void *arg) {
    live_on((uintptr_t)arg);
    return NULL;
}

static _Noreturn void child(unsigned number) {
    pthread_t thread;
    if (number % 4 == 3) { /* the child has its own threads */
        CHECK(pthread_create(&thread, NULL, in_the_child, (void *)(uintptr_t)(number + 1)) == 0);
        CHECK(pthread_join(thread, NULL) == 0);
    } else
        live_on(number + 1);
    if (number % 2)
        exit(0);
    _exit(0);
}

int main(void) {
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, works, (void *)(i + 1)) == 0);
    for (unsigned i = 0; i < OBJECTS; i++) {
        CHECK((before[i] = malloc(size_of(i))) != NULL);
        kernel_paint(before[i], i, 0, size_of(i));
    }
    for (unsigned i = 0; i < FORKS; i++) {
        fflush(stdout);
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0)
            child(i);
        CHECK(kernel_child_ends(pid, 0));
        for (unsigned at = 0; at < OBJECTS; at++)
            CHECK(kernel_is_painted(before[at], at, size_of(at)));
    }
    stop = true;
    for (unsigned i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    return kernel_passed();
}
