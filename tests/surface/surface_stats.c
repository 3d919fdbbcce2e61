/* surface_stats.c: a known heap, for surface_stats_test.py and hakmem_test.py: `surface_stats wait` prints "ready"
 * and ends when its input does; `surface_stats title` overwrites its environment; `surface_stats handler N` exits in
 * a signal handler after N microseconds; `surface_stats json SIZE` prints what hak_stats_json writes into a buffer
 * of SIZE bytes, and its return value; `surface_stats figures` prints that and, of the same moment, each figure from
 * hak_stats_read, mallinfo2, mallctl and the page for other processes. */
#include "tests/surface/want.h"

#include "include/hakmem.h"

#include <malloc.h>
#include <signal.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#pragma weak hak_stats_json
#pragma weak hak_stats_read
extern int mallctl(const char *name, void *old, size_t *old_len, void *new_value, size_t new_len)
    __attribute__((weak));

enum { COUNT = 5000, SIZE = 1000, LARGE = 4, LARGE_SIZE = 3000000 };
static void *objs[COUNT], *large[LARGE];

static void print_json(size_t size) {
    static char text[65536];
    WANT(hak_stats_json != NULL && size < sizeof text);
    memset(text, 'x', sizeof text);
    size_t length = hak_stats_json(text, size);
    WANT(text[size] == 'x'); /* the bytes behind it are not touched */
    printf("%zu\n%s\n", length, size == 0 ? "" : text);
}

static size_t control(const char *name) {
    size_t value = 0, length = sizeof value;
    WANT(mallctl(name, &value, &length, NULL, 0) == 0);
    return value;
}

/* The table that other processes read (docs/STATS.md), and the values to which it points. */
typedef struct counter {
    char name[24];
    const void *address;
    uint32_t width, count, stride, unused;
} counter;
typedef struct page {
    char magic[16];
    uint32_t schema, count;
    const void *self;
    char version[16], variant[16];
    counter counters[];
} page;

static const page *find_page(void) {
    static const char magic[17] = "hakmem stats map";
    char line[512], rights[5];
    uintptr_t from, to;
    const page *found = NULL;
    FILE *file = fopen("/proc/self/maps", "r");
    while (file != NULL && found == NULL && fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "%lx-%lx %4s", &from, &to, rights) == 3 && rights[0] == 'r' &&
            strstr(line, "hakmem") != NULL)
            for (; from < to && found == NULL; from += 16)
                if (memcmp((void *)from, magic, 16) == 0 && ((const page *)from)->self == (void *)from)
                    found = (const page *)from;
    WANT(found != NULL && fclose(file) == 0);
    return found;
}

/* The slot size of the class with the most objects in use. */
static uint64_t busiest(const page *table) {
    const counter *size = NULL, *out = NULL;
    for (uint32_t i = 0; i < table->count; i++) {
        size = strcmp(table->counters[i].name, "class_size") == 0 ? &table->counters[i] : size;
        out = strcmp(table->counters[i].name, "class_out") == 0 ? &table->counters[i] : out;
    }
    WANT(size != NULL && out != NULL && size->width == 4 && out->width == 8 && size->count == out->count);
    uint32_t most = 0;
    for (uint32_t i = 0; i < out->count; i++)
        if (((const uint64_t *)out->address)[i] > ((const uint64_t *)out->address)[most])
            most = i;
    return *(const uint32_t *)((const char *)size->address + (size_t)most * size->stride);
}

static uint64_t sum_of(const counter *one) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < one->count; i++) {
        const char *at = (const char *)one->address + (size_t)i * one->stride;
        sum += one->width == 8 ? *(const uint64_t *)at : *(const uint32_t *)at;
    }
    return sum;
}

/* Nothing is allocated before all objects are there. Some of them were freed, and some of the freed memory goes
 * back. */
static void print_figures(void) {
    static char text[32768];
    static void *freed[3000];
    for (int i = 0; i < 3000; i++)
        memset(freed[i] = malloc(i % 3 == 0 ? 200 : 9000), 1, 200);
    for (int i = 0; i < 3000; i++)
        free(freed[i]);
    free(large[0]);
    large[0] = NULL;
    const page *table = find_page();
    uint64_t sums[64];
    WANT(table->count <= 64 && table->schema == 1);
    hak_stats s;
    for (uint32_t i = 0; i < table->count; i++)
        sums[i] = sum_of(&table->counters[i]);
    (void)hak_stats_json(text, sizeof text);
    hak_stats_read(&s);
    struct mallinfo2 m = mallinfo2();
    const struct {
        const char *name;
        uint64_t value;
    } all[] = {{"mapped_bytes", s.mapped_bytes},
               {"committed_bytes", s.committed_bytes},
               {"metadata_bytes", s.metadata_bytes},
               {"slab_bytes", s.live_slab_bytes},
               {"free_dirty_bytes", s.free_dirty_bytes},
               {"superslabs", s.superslabs},
               {"caches", s.caches},
               {"operations", s.operations},
               {"os.mmap", s.os_mmap},
               {"os.munmap", s.os_munmap},
               {"os.madvise", s.os_madvise},
               {"os.mprotect", s.os_mprotect},
               {"arena_bytes", m.arena},
               {"large.count", m.hblks},
               {"large.bytes", m.hblkhd},
               {"free.count", m.ordblks},
               {"set_aside.count", m.smblks},
               {"set_aside.bytes", m.fsmblks},
               {"free.bytes", m.fordblks - m.fsmblks},
               {"small.bytes", m.uordblks},
               {"releasable_bytes", m.keepcost},
               {"small.bytes", control("stats.arenas.0.small.allocated")},
               {"small.count", control("stats.arenas.0.small.curobjs")},
               {"large.bytes", control("stats.arenas.0.large.allocated")},
               {"large.count", control("stats.arenas.0.large.curobjs")},
               {"set_aside.bytes", control("stats.arenas.0.tcache_bytes")},
               {"metadata_bytes", control("stats.metadata")},
               {"metadata_bytes", control("stats.arenas.0.base")}};
    puts(text);
    printf("map.busiest %llu\n", (unsigned long long)busiest(table));
    printf("live_objects %llu\nlive_large_bytes %llu\n", (unsigned long long)s.live_objects,
           (unsigned long long)s.live_large_bytes);
    for (uint32_t i = 0; i < table->count; i++)
        printf("map.%s %llu\n", table->counters[i].name, (unsigned long long)sums[i]);
    for (unsigned i = 0; i < sizeof all / sizeof all[0]; i++)
        printf("%s %llu\n", all[i].name, (unsigned long long)all[i].value);
}

/* Like servers that overwrite their arguments with a title. */
static void write_title(void) {
    for (char **one = environ; *one != NULL; one++)
        if (strncmp(*one, "LLVM_", 5) != 0)
            memset(*one, 't', strlen(*one));
}

static void handler(int number) {
    exit(number == SIGALRM ? 0 : 1);
}

/* As servers do at SIGTERM, usually in the middle of malloc. */
static void exit_in_handler(long microseconds) {
    static void *objects[3000];
    struct itimerval once = {{0, 0}, {0, microseconds}};
    signal(SIGALRM, handler);
    setitimer(ITIMER_REAL, &once, NULL);
    for (;;) {
        for (int i = 0; i < 3000; i++)
            objects[i] = malloc(i % 9 != 0 ? 200000 : 64);
        for (int i = 0; i < 3000; i++)
            free(objects[i]);
    }
}

int main(int argc, char **argv) {
    for (int i = 0; i < COUNT; i++)
        memset(objs[i] = malloc(SIZE), 1, SIZE);
    for (int i = 0; i < LARGE; i++)
        WANT((large[i] = malloc(LARGE_SIZE)) != NULL);
    if (argc > 2 && strcmp(argv[1], "handler") == 0)
        exit_in_handler(atol(argv[2]));
    else if (argc > 2)
        print_json((size_t)atol(argv[2]));
    else if (argc > 1 && strcmp(argv[1], "figures") == 0)
        print_figures();
    else if (argc > 1 && strcmp(argv[1], "title") == 0)
        write_title();
    else if (argc > 1) {
        char byte;
        puts("ready");
        fflush(stdout);
        (void)!read(STDIN_FILENO, &byte, 1);
    }
    return 0;
}
