/* surface_memory.c WHAT [MIB]: the program of surface_options_test.py and surface_kernel_test.py. Prints resident
 * KiB at the end. */
#include <errno.h>
#include <malloc.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static long resident_kib(void) {
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL || fscanf(file, "%*d %ld", &pages) != 1)
        exit(2);
    fclose(file);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

/* `mib` MiB in objects of 100 bytes to 1 MiB, all freed. The table of them is large memory as well. */
static void burst(size_t mib) {
    size_t want = mib << 20, have = 0, count = 0, room = want / 100;
    char **objs = calloc(room, sizeof *objs);
    for (size_t i = 0; have < want && count < room; i++) {
        size_t size = i % 50 == 0 ? 1 << 20 : i % 10 == 0 ? 40000 : 100 + i % 900;
        char *obj = malloc(size);
        if (obj == NULL)
            exit(3);
        memset(obj, 1, size);
        objs[count++] = obj;
        have += size;
    }
    for (size_t i = 0; i < count; i++)
        free(objs[i]);
    free(objs);
}

/* In 256 MiB of address space: some 100 MiB can be had, and too large a request is refused. */
static void limited(void) {
    enum { COUNT = 100 };
    static char *objs[COUNT];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < COUNT; i++) {
            objs[i] = malloc(i % 2 ? 1 << 20 : 100000);
            if (objs[i] == NULL)
                exit(4);
            memset(objs[i], 1, 1000);
        }
        for (int i = 0; i < COUNT; i++)
            free(objs[i]);
    }
    errno = 0;
    void *volatile huge = malloc((size_t)1 << 30);
    if (huge != NULL || errno != ENOMEM)
        exit(5);
}

static void spawn(void) {
    char *const echo[] = {"/bin/echo", "spawned", NULL};
    pid_t child;
    int status;
    free(malloc(100));
    if (posix_spawn(&child, echo[0], NULL, NULL, echo, environ) != 0 || waitpid(child, &status, 0) != child ||
        status != 0)
        exit(6);
    child = vfork();
    if (child == 0) {
        execv(echo[0], echo);
        _exit(1);
    }
    if (waitpid(child, &status, 0) != child || status != 0)
        exit(7);
    free(malloc(100));
}

/* KiB of memory for which huge pages were requested, with `mib` MiB in slabs. */
static void huge(size_t mib) {
    unsigned long kib = 0, sum = 0;
    char line[512];
    for (size_t i = 0; i < mib * 16; i++) {
        char *obj = malloc(60000);
        if (obj == NULL)
            exit(3);
        memset(obj, 1, 60000);
    }
    FILE *file = fopen("/proc/self/smaps", "r");
    if (file == NULL)
        exit(2);
    while (fgets(line, sizeof line, file) != NULL) {
        (void)sscanf(line, "Size: %lu kB", &kib);
        if (strncmp(line, "VmFlags:", 8) == 0 && strstr(line, " hg") != NULL)
            sum += kib;
    }
    fclose(file);
    printf("%lu\n", sum);
}

/* A double free, with the object's neighbours live. */
static void error(void) {
    char *volatile obj = malloc(100);
    free(obj);
    free(obj);
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    size_t mib = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
    if (strcmp(what, "huge") == 0) {
        huge(mib);
        return 0;
    }
    if (strcmp(what, "info") == 0)
        return malloc_info(0, stdout);
    if (strcmp(what, "burst") == 0 || strcmp(what, "trim") == 0)
        burst(mib);
    else if (strcmp(what, "large") == 0) {
        char *obj = malloc(mib << 20);
        memset(obj, 1, mib << 20);
        free(obj);
    } else if (strcmp(what, "limited") == 0)
        limited();
    else if (strcmp(what, "spawn") == 0)
        spawn();
    else if (strcmp(what, "error") == 0)
        error();
    else
        free(malloc(100));
    if (strcmp(what, "trim") == 0)
        (void)malloc_trim(0);
    printf("%ld\n", resident_kib());
    return 0;
}
