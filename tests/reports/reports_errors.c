/* reports_errors.c: the errors, and functions that the cases share. */
#include "tests/reports/reports.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

void reports_say(const char *text) {
    NEED(write(STDOUT_FILENO, text, strlen(text)) == (ssize_t)strlen(text));
}

enum { OBJECTS = 4000, SIZE = 64 };

static void *objects[OBJECTS];

void reports_take_all(void) {
    for (int i = 0; i < OBJECTS; i++)
        objects[i] = malloc(SIZE);
}
static void give_all(void) {
    for (int i = 0; i < OBJECTS; i++)
        free(objects[i]);
}

/* Found at once, or when the object leaves the thread's cache: then under the lock of its own depot. */
void reports_free_twice(void) {
    if (objects[0] == NULL)
        reports_take_all();
    void *volatile twice = objects[5];
    free(twice);
    give_all();
    memset(objects, 0, sizeof objects);
}

void reports_free_foreign(void) {
    static char room[64];
    void *volatile foreign = room + 16;
    free(foreign);
}

/* Damages an object that stays allocated, so that the damage stays, too: a large object, because a small one's
 * damage would be found when a neighbour is freed. */
void reports_overflow(void) {
    enum { LARGE = 300001 };
    for (int i = 0; i < 2; i++) {
        char *volatile object = malloc(LARGE);
        object[LARGE] ^= 1;
        if (i == 1)
            free(object);
    }
}

void (*reports_error)(void) = reports_free_twice;

/* What a crash handler may allocate: every size, and of the error's size more than a cache has. */
static void use_size(size_t size, int count) {
    static __thread void *some[OBJECTS];
    for (int i = 0; i < count; i++) {
        some[i] = malloc(size);
        NEED(some[i] != NULL);
        memset(some[i], 'x', size);
    }
    for (int i = 0; i < count; i++)
        free(some[i]);
}
void reports_use_heap(void) {
    static const size_t sizes[] = {0, 16, 500, 5000, 100000, 1 << 20};
    use_size(SIZE, OBJECTS);
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
        use_size(sizes[s], 40);
    void *grown = realloc(NULL, 10);
    for (size_t size = 20; size < 1 << 21; size *= 2)
        NEED((grown = realloc(grown, size)) != NULL);
    free(grown);
}

int reports_end_of(pid_t child) {
    int status;
    NEED(waitpid(child, &status, 0) == child);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

void reports_writes(int number) {
    (void)number;
    reports_say("handler\n"); /* a cancellation point */
}
