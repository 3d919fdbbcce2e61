/* kernel_limits.c: limits that fall while the program runs, and memory that runs out. As on glibc: requests that fit
 * are served, others are refused with ENOMEM; threads start and libraries open; and memory that was freed after a
 * refusal can be had again in any size. glibc's figures come from this program itself, run once more without the
 * allocator: the allocator gets nine tenths of them. */
#include "kernel_limit.h"

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

enum { MIB = 1 << 20, LIMIT = 160 * MIB, STEPS = 6, KINDS = 2 };

static const size_t sizes[STEPS] = {1 * MIB, 1000, 20 * MIB, 60000, 200, 300000};
static void *works(void *arg) {
    free(malloc(100000));
    return arg;
}

/* The life of a process whose limit falls: prints what it gets, in MiB. */
static void live(int kind) {
    struct rlimit limit = {LIMIT, LIMIT};
    free(malloc(MIB));
    free(malloc(100));
    CHECK(setrlimit(kind == 0 ? RLIMIT_AS : RLIMIT_DATA, &limit) == 0);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, works, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    void *mapping = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(mapping != MAP_FAILED && munmap(mapping, MIB) == 0);
    CHECK(dlopen("libm.so.6", RTLD_NOW) != NULL);
    for (int i = 0; i < STEPS; i++)
        printf("%zu\n", kernel_fill(sizes[i]) / MIB);
    fflush(stdout);
    CHECK(pthread_create(&thread, NULL, works, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
}

static void measure(int kind, bool bare, size_t got[STEPS]) {
    char arguments[16];
    snprintf(arguments, sizeof arguments, "%d", kind);
    kernel_figures(arguments, bare, got, STEPS);
}

int main(int argc, char **argv) {
    if (argc > 1) {
        live(atoi(argv[1]));
        return 0;
    }
    for (int kind = 0; kind < KINDS; kind++) {
        size_t ours[STEPS], theirs[STEPS];
        measure(kind, false, ours);
        measure(kind, true, theirs);
        for (int i = 0; i < STEPS; i++)
            printf("%s, %zu bytes: %zu MiB, glibc %zu\n", kind == 0 ? "RLIMIT_AS" : "RLIMIT_DATA", sizes[i],
                   ours[i], theirs[i]);
        for (int i = 0; i < STEPS; i++)
            CHECK(ours[i] * 10 >= theirs[i] * 9);
    }
    return kernel_passed();
}
