/* kernel_guards.c: the hardened variant's requests to the kernel have their effect, by whichever call they are
 * served: memory beside a large object and memory of a freed one cannot be used, and sealed memory cannot be
 * unmapped. Many objects between guards do not use up the kernel's mappings, so threads start afterwards. The speed
 * variant and glibc, which promise neither of the first two, only allocate. */
#include "kernel_check.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

enum { SIZE = 1 << 20, OBJECTS = 300, BUSY = 300 << 10, SMALL = 3000 };

static char *volatile victim;

static void past(void) {
    victim[SIZE + 4096] = 1;
}
static void before(void) {
    victim[-4096] = 1;
}
static void after_free(void) {
    free(victim);
    victim[SIZE / 2]++;
}

/* True when a signal ends a child that does `what`. */
static bool faults(void (*what)(void)) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        close(STDERR_FILENO);
        what();
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    return WIFSIGNALED(status);
}

/* True when this kernel, as this process sees it, has mseal. */
static bool can_seal(void) {
    char *page = mmap(NULL, 65536, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return page != MAP_FAILED && syscall(462, page, 65536, 0) == 0 && munmap(page, 65536) != 0;
}

/* The number of sealed anonymous mappings with access; our own page and the vdso's are not counted. */
static unsigned count_sealed(void) {
    char line[512], access[5] = "";
    unsigned found = 0;
    int names = 0;
    FILE *maps = fopen("/proc/self/smaps", "r");
    CHECK(maps != NULL);
    while (fgets(line, sizeof line, maps) != NULL) {
        unsigned long start, end;
        char name[2] = "";
        if (sscanf(line, "%lx-%lx %4s %*s %*s %*s %1s", &start, &end, access, name) >= 3 &&
            strchr(line, '-') < line + 20)
            names = name[0] != 0;
        else if (strncmp(line, "VmFlags:", 8) == 0)
            found += !names && access[1] == 'w' && strstr(line, " sl") != NULL;
    }
    fclose(maps);
    return found;
}

static void *nothing(void *arg) {
    free(malloc(100));
    return arg;
}

/* Objects with guards come and go; small ones lie between guards sometimes. */
static void many(void) {
    static char *large[OBJECTS], *small[SMALL];
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < OBJECTS; i++) {
            CHECK((large[i] = malloc(BUSY + 1 + 4096 * i)) != NULL);
            large[i][0] = large[i][BUSY] = 1;
        }
        for (unsigned i = 0; i < SMALL; i++) {
            CHECK((small[i] = malloc(1 + i % 4000)) != NULL);
            small[i][0] = 1;
        }
        for (unsigned i = 0; i < SMALL; i++)
            free(small[i * 7 % SMALL]);
        for (unsigned i = 0; i < OBJECTS; i++)
            free(large[i * 7 % OBJECTS]);
    }
    for (unsigned i = 0; i < 20; i++) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, nothing, NULL) == 0);
        CHECK(pthread_join(thread, NULL) == 0);
    }
}

int main(void) {
    bool hardened = hak_variant != NULL && strcmp(hak_variant(), "hardened") == 0;
    victim = malloc(SIZE);
    CHECK(victim != NULL);
    memset(victim, 1, SIZE);
    if (hardened) {
        CHECK(faults(past));
        CHECK(faults(before));
        CHECK(faults(after_free));
        CHECK((count_sealed() > 0) == can_seal());
    }
    many();
    free(victim);
    return kernel_passed();
}
