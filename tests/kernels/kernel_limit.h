/* kernel_limit.h: how much memory can be had at a limit, and how much glibc's malloc gets there: the same program,
 * run once more without the preloaded library. */
#ifndef HAK_TESTS_KERNEL_LIMIT_H
#define HAK_TESTS_KERNEL_LIMIT_H

#include "kernel_check.h"

#include <errno.h>

/* Bytes of objects of `size` until malloc fails with ENOMEM; all are freed again. Each has a pointer to the one
 * before. */
static inline size_t kernel_fill(size_t size) {
    size_t got = 0;
    char *links = NULL;
    errno = 0;
    for (char *obj; (obj = malloc(size)) != NULL; got += size) {
        *(char **)obj = links;
        links = obj;
        errno = 0;
    }
    CHECK(errno == ENOMEM);
    while (links != NULL) {
        char *obj = links;
        links = *(char **)obj;
        free(obj);
    }
    return got;
}

/* The `count` numbers that this program prints when it is run with the arguments, within so many KiB of address space
 * (0: no limit of its own); bare: without the preloaded library. */
static inline void kernel_figures_within(unsigned kib, const char *arguments, bool bare, size_t *got,
                                         int count) {
    char command[4400], limit[32] = "", self[4096] = "";
    CHECK(readlink("/proc/self/exe", self, sizeof self - 1) > 0);
    if (kib != 0)
        snprintf(limit, sizeof limit, "ulimit -v %u;", kib);
    int length = snprintf(command, sizeof command, "%s %s exec '%s' %s", limit, bare ? "LD_PRELOAD=" : "",
                          self, arguments);
    CHECK(length > 0 && length < (int)sizeof command);
    FILE *said = popen(command, "r");
    CHECK(said != NULL);
    for (int i = 0; i < count; i++)
        CHECK(fscanf(said, "%zu", &got[i]) == 1);
    CHECK(pclose(said) == 0);
}
static inline void kernel_figures(const char *arguments, bool bare, size_t *got, int count) {
    kernel_figures_within(0, arguments, bare, got, count);
}

#endif
