/* witness.c: a library that is preloaded behind the allocator: each process writes at its start, into the file
 * WITNESS_LOG, which program it is and whether malloc and operator new, as it calls them, are the allocator's. For
 * programs_test.py. */
#include "include/hakmem.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LARGE = 4 << 20 };

/* Whether the library counts an object that the function makes. The function's address shows nothing: in a program
 * that is not position-independent it is the address of the program's own jump to it. */
static const char *whose(const char *name, const char *end) {
    void (*read_stats)(hak_stats *out) = (void (*)(hak_stats *))dlsym(RTLD_DEFAULT, "hak_stats_read");
    void *(*make)(size_t) = (void *(*)(size_t))dlsym(RTLD_DEFAULT, name);
    void (*give)(void *) = (void (*)(void *))dlsym(RTLD_DEFAULT, end);
    hak_stats before, after;
    if (read_stats == NULL || make == NULL || give == NULL)
        return make == NULL ? "-" : "other";
    read_stats(&before);
    void *volatile obj = make(LARGE);
    read_stats(&after);
    give(obj);
    return after.live_large_bytes >= before.live_large_bytes + LARGE / 2 ? "ours" : "other";
}

__attribute__((constructor)) static void begun(void) {
    char program[512], line[2048];
    const char *path = getenv("WITNESS_LOG");
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    int file = path != NULL ? open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666) : -1;
    if (file < 0)
        return;
    program[length > 0 ? length : 0] = 0;
    int used =
        snprintf(line, sizeof line, "%s %s %s\n", program, whose("malloc", "free"), whose("_Znwm", "_ZdlPv"));
    if (used > 0 && (size_t)used < sizeof line && write(file, line, (size_t)used) < 0)
        _exit(97);
    close(file);
}
