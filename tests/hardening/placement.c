/* placement.c: the places of objects, for placement_test.py.
 *
 * placement bases            the addresses of the first objects of 64 B, 200 KiB and 1 MiB; the same of a forked child
 * placement order SIZE N     N distances from one object of SIZE bytes to the next, in bytes
 * placement reuse ROUNDS N   how many of N freed objects of 64 B came back within so many rounds of malloc and free */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void *volatile shown;

static uintptr_t address(size_t size) {
    shown = malloc(size);
    return (uintptr_t)shown;
}

static void bases(void) {
    printf("%zu %zu %zu\n", address(64), address(200 * 1024), address(1 << 20));
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        printf("%zu %zu %zu\n", address(64), address(200 * 1024), address(1 << 20));
        fflush(stdout);
        _exit(0);
    }
    waitpid(child, NULL, 0);
}

static void order(size_t size, unsigned count) {
    uintptr_t before = address(size);
    for (unsigned i = 0; i < count; i++) {
        uintptr_t now = address(size);
        printf("%jd\n", (intmax_t)now - (intmax_t)before);
        before = now;
    }
}

static void reuse(unsigned rounds, unsigned count) {
    unsigned back = 0;
    for (unsigned i = 0; i < 200000; i++)
        free((void *)address(64)); /* as it is after a while */
    for (unsigned i = 0; i < count; i++) {
        uintptr_t wanted = address(64);
        free((void *)wanted);
        for (unsigned round = 0; round < rounds; round++) {
            uintptr_t got = address(64);
            free((void *)got);
            if (got == wanted) {
                back++;
                break;
            }
        }
    }
    printf("%u\n", back);
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "bases") == 0)
        bases();
    else if (argc == 4 && strcmp(argv[1], "order") == 0)
        order((size_t)atol(argv[2]), (unsigned)atol(argv[3]));
    else if (argc == 4 && strcmp(argv[1], "reuse") == 0)
        reuse((unsigned)atol(argv[2]), (unsigned)atol(argv[3]));
    else
        return 2;
    return 0;
}
