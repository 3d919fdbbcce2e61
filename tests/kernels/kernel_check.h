/* kernel_check.h: what the programs of tests/kernels share. Each is a correct program: it also passes on glibc's
 * malloc. That shows that the program relies only on what the kernel promises. */
#ifndef HAK_TESTS_KERNEL_CHECK_H
#define HAK_TESTS_KERNEL_CHECK_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* A function of the allocator under the program; glibc has none. */
extern const char *hak_variant(void) __attribute__((weak));

static _Atomic unsigned long kernel_checks;

/* If the condition does not hold, the program ends with status 1 and prints the place. */
#define CHECK(cond)                                                                                          \
    do {                                                                                                     \
        kernel_checks++;                                                                                     \
        if (!(cond)) {                                                                                       \
            printf("%s:%d: not so: %s\n", __FILE__, __LINE__, #cond);                                        \
            fflush(stdout);                                                                                  \
            _exit(1);                                                                                        \
        }                                                                                                    \
    } while (0)

/* Waits for the child. True when it has ended with this exit code; else prints how it ended. (Signal 9, which no
 * program here sends, is the kernel's answer to want of memory.) */
static inline bool kernel_child_ends(pid_t child, int code) {
    int status;
    if (waitpid(child, &status, 0) != child)
        printf("waitpid failed\n");
    else if (WIFEXITED(status) && WEXITSTATUS(status) == code)
        return true;
    else if (WIFEXITED(status))
        printf("the child ended with exit code %d\n", WEXITSTATUS(status));
    else
        printf("signal %d ended the child\n", WTERMSIG(status));
    return false;
}

/* The last line of a program that has passed: the malloc on which it ran, and how much it checked. */
static inline int kernel_passed(void) {
    printf("%s %lu checks\n", hak_variant != NULL ? hak_variant() : "glibc", kernel_checks);
    return 0;
}

static inline uint64_t kernel_draw(uint64_t *seed) {
    uint64_t z = *seed += 0x9e3779b97f4a7c15u; /* splitmix64, Steele et al. 2014 */
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* A word at the start of each KERNEL_STEP bytes of an object, and its last byte: the checked bytes must be written
 * before. */
enum { KERNEL_STEP = 4096 };

static inline uint64_t kernel_mark(uint64_t id, size_t at) {
    return (id + 1) * 0x9e3779b97f4a7c15u + at;
}
static inline void kernel_paint(char *obj, uint64_t id, size_t from, size_t size) {
    for (size_t at = (from + KERNEL_STEP - 1) / KERNEL_STEP * KERNEL_STEP; at + 8 <= size; at += KERNEL_STEP)
        *(uint64_t *)(obj + at) = kernel_mark(id, at);
}
static inline int kernel_is_painted(const char *obj, uint64_t id, size_t size) {
    for (size_t at = 0; at + 8 <= size; at += KERNEL_STEP)
        if (*(const uint64_t *)(obj + at) != kernel_mark(id, at))
            return 0;
    return 1;
}

#endif
