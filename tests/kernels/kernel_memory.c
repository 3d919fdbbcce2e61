/* kernel_memory.c: a program whose phases use different sizes, threads that each used much memory once, and objects
 * that are hardly touched: freed memory serves the next phase. In a cgroup of 256 MiB the process is killed
 * otherwise; elsewhere the resident memory is checked. */
#include "kernel_check.h"

#include <malloc.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

enum { MIB = 1 << 20, LIVE = 48 * MIB, MOST = 200 * MIB, PHASES = 9, THREADS = 12, BURST = 8 * MIB };

/* Resident anonymous memory, in bytes. */
static size_t resident(void) {
    char line[256];
    size_t kib = 0;
    FILE *file = fopen("/proc/self/status", "r");
    CHECK(file != NULL);
    while (fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "RssAnon: %zu kB", &kib) == 1)
            break;
    fclose(file);
    return kib << 10;
}

/* Its table is not the allocator's memory. */
static void use(size_t size, size_t bytes) {
    size_t count = bytes / size;
    char **objs =
        mmap(NULL, count * sizeof *objs, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(objs != MAP_FAILED);
    for (size_t i = 0; i < count; i++) {
        CHECK((objs[i] = malloc(size)) != NULL);
        for (size_t at = 0; at < size; at += 4096)
            objs[i][at] = 1;
        objs[i][size - 1] = 1;
    }
    for (size_t i = 0; i < count; i++)
        free(objs[i]);
    CHECK(munmap(objs, count * sizeof *objs) == 0);
}

static void *burst(void *arg) {
    use(2000 + 300 * (uintptr_t)arg, BURST);
    return NULL;
}

static void sparse(void) {
    enum { COUNT = 400, GROWN = 48 * MIB };
    static char *objs[COUNT];
    size_t before = resident();
    for (unsigned i = 0; i < COUNT; i++) {
        CHECK((objs[i] = calloc(1, i % 2 ? MIB : 200000)) != NULL);
        objs[i][100000] = 1;
    }
    /* Also where the kernel makes huge pages of all memory; glibc promises nothing there. */
    CHECK(hak_variant == NULL || resident() < before + GROWN);
    for (unsigned i = 0; i < COUNT; i++)
        free(objs[i]);
}

int main(void) {
    static const size_t sizes[PHASES] = {500, 20000, 1200, 300000, 3000, 90000, 5 * MIB, 700, 9000};
    for (unsigned i = 0; i < PHASES; i++) {
        use(sizes[i], LIVE);
        CHECK(resident() < MOST);
    }
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i += 3) {
        for (uintptr_t j = i; j < i + 3; j++)
            CHECK(pthread_create(&threads[j], NULL, burst, (void *)j) == 0);
        for (uintptr_t j = i; j < i + 3; j++)
            CHECK(pthread_join(threads[j], NULL) == 0);
        CHECK(resident() < MOST);
    }
    sparse();
    CHECK(resident() < MOST);
    return kernel_passed();
}
