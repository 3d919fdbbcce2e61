/* surface_profile.c: allocations whose sums are known, for surface_profile_test.py: `surface_profile WORK`. The
 * profile shows each function's allocations under its name. */
#include "tests/surface/want.h"

#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern size_t hak_profile_save(const char *path) __attribute__((weak));

/* Not the last action of its caller, and not inlined: so it is on the stack. */
#define PLACE __attribute__((noinline)) static
enum { MANY = 200000 };
static void *kept[MANY];
static void *volatile last;

PLACE void keeps_small(void) {
    for (int i = 0; i < MANY; i++)
        kept[i] = malloc(100);
    last = kept[0];
}
PLACE void mixes_small(void) { /* one after the other, of many classes */
    for (int i = 0; i < MANY; i++)
        kept[i] = malloc((size_t)(i % 50) * 20 + 1);
    last = kept[0];
}
PLACE void frees_at_once(void) {
    for (int i = 0; i < 1000000; i++) {
        last = malloc(64);
        free(last);
    }
}
PLACE void clears(void) {
    for (int i = 0; i < 2000; i++) {
        unsigned char *obj = calloc(1, 20000);
        for (int at = 0; at < 20000; at += 100)
            WANT(obj[at] == 0);
        memset(obj, 1, 20000);
        last = obj;
        free(obj);
    }
}
PLACE void aligns(void) {
    for (int i = 0; i < 20000; i++) {
        last = memalign(256, 1000);
        WANT((uintptr_t)last % 256 == 0);
        free(last);
    }
}
PLACE void keeps_large(void) {
    for (int i = 0; i < 50; i++)
        kept[i] = malloc(1000000);
    last = kept[0];
}
PLACE void grows(void) {
    char *obj = NULL;
    for (size_t size = 300; size <= 3000000; size += size / 2) {
        obj = realloc(obj, size);
        obj[size - 1] = 1;
    }
    last = obj;
}
PLACE void frees_all(void) {
    for (int i = 0; i < MANY; i++)
        free(kept[i]);
}

static void *small_in_thread(void *unused) {
    (void)unused;
    frees_at_once();
    keeps_small();
    return NULL;
}

static void in_thread(void) {
    pthread_t thread;
    WANT(pthread_create(&thread, NULL, small_in_thread, NULL) == 0);
    WANT(pthread_join(thread, NULL) == 0);
}

static void forked(void) {
    keeps_small();
    pid_t child = fork();
    WANT(child >= 0);
    if (child == 0) {
        keeps_large();
        exit(0);
    }
    int status;
    WANT(waitpid(child, &status, 0) == child && status == 0);
}

static void saves(const char *path) {
    WANT(hak_profile_save != NULL);
    keeps_small();
    printf("%zu\n", hak_profile_save(path));
    frees_all();
    printf("%zu\n", hak_profile_save(path));
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*work)(void);
    } works[] = {{"keeps_small", keeps_small},
                 {"mixes_small", mixes_small},
                 {"frees_at_once", frees_at_once},
                 {"clears", clears},
                 {"aligns", aligns},
                 {"keeps_large", keeps_large},
                 {"grows", grows},
                 {"in_thread", in_thread},
                 {"forked", forked}};
    if (argc == 3 && strcmp(argv[1], "saves") == 0) {
        saves(argv[2]);
        return 0;
    }
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "frees_all") == 0) {
            frees_all();
            continue;
        }
        unsigned found = 0;
        while (found < sizeof works / sizeof works[0] && strcmp(argv[i], works[found].name) != 0)
            found++;
        WANT(found < sizeof works / sizeof works[0]);
        works[found].work();
    }
    return 0;
}
