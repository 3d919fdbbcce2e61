/* kernel_limits.c: limits that fall while the program runs, and memory that runs out. As on glibc: what fits is had,
 * what does not is refused with ENOMEM; threads start and libraries open; and what was freed after a refusal can be
 * had again in any size. glibc's figures come from this program itself, run once more without the allocator: the
 * allocator gets nine tenths of them. */
#include "kernel_check.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

enum { MIB = 1 << 20, LIMIT = 160 * MIB, STEPS = 6, KINDS = 2 };

static const size_t sizes[STEPS] = {1 * MIB, 1000, 20 * MIB, 60000, 200, 300000};
static char *links; /* the objects, each with a pointer to the one before */

static size_t fill(size_t size) {
    size_t got = 0;
    for (;;) {
        errno = 0;
        char *obj = malloc(size);
        if (obj == NULL)
            break;
        *(char **)obj = links;
        links = obj;
        got += size;
    }
    CHECK(errno == ENOMEM);
    while (links != NULL) {
        char *obj = links;
        links = *(char **)obj;
        free(obj);
    }
    return got;
}

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
        printf("%zu\n", fill(sizes[i]) / MIB);
    fflush(stdout);
    CHECK(pthread_create(&thread, NULL, works, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
}

/* Figures of a run of this program; with or without what is preloaded. */
static void measure(int kind, bool bare, size_t got[STEPS]) {
    char command[4200], self[4096] = "";
    CHECK(readlink("/proc/self/exe", self, sizeof self - 1) > 0);
    snprintf(command, sizeof command, "%s '%s' %d", bare ? "LD_PRELOAD=" : "", self, kind);
    FILE *said = popen(command, "r");
    CHECK(said != NULL);
    for (int i = 0; i < STEPS; i++)
        CHECK(fscanf(said, "%zu", &got[i]) == 1);
    CHECK(pclose(said) == 0);
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
