/* kernel_exits.c: processes end by exit() while their threads work, and forked children end while the parent's
 * threads work. Each ends with its own status and prints nothing: a correct program is never reported. */
#include "kernel_check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

enum { EXITS = 8, CHILDREN = 16, THREADS = 6, STATUS = 7 };

static size_t largest;

static void *works(void *arg) {
    uint64_t seed = (uintptr_t)arg;
    char *mine[64] = {NULL};
    for (;;) {
        char **place = &mine[kernel_draw(&seed) % 64];
        free(*place);
        size_t size = 16 + kernel_draw(&seed) % largest;
        *place = malloc(size);
        if (*place != NULL)
            memset(*place, 0xff, size < 65536 ? size : 65536);
    }
    return NULL;
}

static void begin(unsigned threads) {
    for (uintptr_t i = 0; i < threads; i++) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, works, (void *)(i + 1)) == 0);
    }
    usleep(20000);
}

/* The child's output goes to a pipe: so a report of a process that lives on is seen. */
static void expect_quiet_end(void (*life)(unsigned), unsigned which) {
    int ends[2];
    char said[400];
    CHECK(pipe(ends) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        life(which);
        exit(STATUS);
    }
    close(ends[1]);
    ssize_t length = read(ends[0], said, sizeof said - 1);
    said[length > 0 ? length : 0] = 0;
    close(ends[0]);
    if (said[0] != 0)
        printf("%s\n", said);
    CHECK(kernel_child_ends(child, STATUS));
    CHECK(said[0] == 0);
}

static void exits_with_threads(unsigned which) {
    static const size_t sizes[] = {500, 3000, 150000, 1 << 20};
    largest = sizes[which % 4];
    begin(1 + which % 8);
}

static void uses_the_heap(unsigned which) {
    uint64_t seed = which;
    char *mine[20];
    for (int i = 0; i < 20; i++) {
        size_t size = 1 + kernel_draw(&seed) % 400000;
        CHECK((mine[i] = malloc(size)) != NULL);
        memset(mine[i], 1, size);
    }
    for (int i = 0; i < 10; i++)
        free(mine[i]);
}

static void nothing(unsigned which) {
    (void)which;
}

int main(void) {
    for (unsigned i = 0; i < EXITS; i++)
        expect_quiet_end(exits_with_threads, i);
    largest = 3000;
    begin(THREADS);
    for (unsigned i = 0; i < CHILDREN; i++)
        expect_quiet_end(i % 2 ? nothing : uses_the_heap, i);
    kernel_passed();
    fflush(stdout);
    _exit(0); /* the threads work on */
}
