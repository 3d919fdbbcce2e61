/* asleep.h: whether a thread of this process waits in the kernel, for tests that hold a thread in a window until
 * another one waits for it. */
#ifndef HAK_TESTS_ASLEEP_H
#define HAK_TESTS_ASLEEP_H

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

/* `thread`: its kernel number (gettid). */
static inline bool thread_is_asleep(pid_t thread) {
    char path[64], text[256] = {0};
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)thread);
    int file = open(path, O_RDONLY);
    ssize_t got = read(file, text, sizeof text - 1);
    close(file);
    const char *name_end = strrchr(text, ')');
    return got > 0 && name_end != NULL && strncmp(name_end, ") S", 3) == 0;
}

#endif
