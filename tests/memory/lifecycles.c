/* lifecycles.c: resident memory of programs whose need rises and falls. `lifecycles NAME` runs a scenario six times
 * with other sizes, numbers and orders, each in a process of its own. It ends with 0 when the law of docs/DESIGN.md
 * held each time. */
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { SEEDS = 6, KIB = 1024, MIB = 1024 * KIB, PAGE = 4096, CROWD = 128 };

static uint64_t state;
static int hardened; /* the quarantine may hold 24 MiB, and a little for each thread and class */

static uint64_t next_of(uint64_t *at) {
    *at += 0x9e3779b97f4a7c15;
    uint64_t z = (*at ^ *at >> 30) * 0xbf58476d1ce4e5b9;
    return (z ^ z >> 27) * 0x94d049bb133111eb >> 16;
}
static size_t between(size_t least, size_t most) {
    return least + next_of(&state) % (most - least + 1);
}
/* Each doubling of the size is equally likely. */
static size_t log_between(uint64_t *at, unsigned least, unsigned most) {
    size_t size = (size_t)1 << (least + next_of(at) % (most - least));
    return size + next_of(at) % size;
}

/* Resident anonymous memory, in bytes. Allocates nothing. */
static size_t resident(void) {
    char text[4096];
    int file = open("/proc/self/status", O_RDONLY);
    ssize_t got = file < 0 ? -1 : read(file, text, sizeof text - 1);
    if (got <= 0)
        abort();
    close(file);
    text[got] = 0;
    const char *found = strstr(text, "RssAnon:");
    if (found == NULL)
        abort();
    return strtoul(found + 8, NULL, 10) * KIB;
}

static void expect(const char *when, size_t most) {
    size_t have = resident();
    if (have <= most)
        return;
    fprintf(stderr, "%s: %zu KiB are resident, at most %zu should be\n", when, have / KIB, most / KIB);
    exit(1);
}

static void *touched(size_t size, size_t step) {
    char *obj = malloc(size);
    if (obj == NULL)
        abort();
    for (size_t at = 0; at < size; at += step)
        obj[at] = 1;
    return obj;
}

static void shuffle(void **objs, size_t count) {
    for (size_t i = count; i > 1; i--) {
        size_t other = next_of(&state) % i;
        void *obj = objs[i - 1];
        objs[i - 1] = objs[other];
        objs[other] = obj;
    }
}

/* A program that goes on to another size over and over. No time passes, so the memory of the largest phase may still
 * be resident. */
static void phases(void) {
    static void *objs[8 << 20];
    size_t base = resident(), highest = 0;
    for (int phase = 0; phase < 12; phase++) {
        size_t size = log_between(&state, 5, 18), live = between(30, 60) * MIB, count = live / size;
        for (size_t i = 0; i < count; i++)
            objs[i] = touched(size, PAGE);
        /* a slot is up to a quarter larger than the object; small ones need their records */
        size_t need = live / 4 * 5 + count * (sizeof objs[0] + 16);
        highest = need > highest ? need : highest;
        expect("a phase", base + highest / 4 * 5 + (hardened ? 40 : 16) * (size_t)MIB);
        if (phase % 2 != 0)
            shuffle(objs, count);
        for (size_t i = 0; i < count; i++)
            free(objs[i]);
    }
}

static pthread_barrier_t barrier;

/* Bursts of many sizes; each burst is freed. */
static void *burst(void *seed) {
    uint64_t at = (uintptr_t)seed;
    for (int i = 0; i < 60; i++) {
        size_t size = log_between(&at, 7, 18), count = 512 * KIB / size;
        void *objs[64];
        count = count < 4 ? 4 : count > 64 ? 64 : count;
        for (size_t k = 0; k < count; k++)
            objs[k] = touched(size, PAGE);
        for (size_t k = 0; k < count; k++)
            free(objs[k]);
    }
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    return NULL;
}

static size_t threads;
static pthread_t ids[CROWD];

static void begin(void) {
    pthread_attr_t attr;
    threads = between(20, 80);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 128 * KIB);
    pthread_barrier_init(&barrier, NULL, (unsigned)threads + 1);
    for (size_t i = 0; i < threads; i++)
        if (pthread_create(&ids[i], &attr, burst, (void *)(state + i)) != 0)
            abort();
    pthread_barrier_wait(&barrier);
}

static void join(void) {
    pthread_barrier_wait(&barrier);
    for (size_t i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
}

/* Threads that wait after a burst. */
static void idle(void) {
    size_t base = resident();
    begin();
    expect("idle threads", base + 64 * (size_t)MIB + (hardened ? 56 : 0) * (size_t)MIB +
                               threads * (hardened ? 1280 : 512) * KIB);
    join();
}

/* Threads that sleep, and malloc_trim: each keeps one object of each size that it used last. The quarantine is off,
 * because it holds more than that. */
static void asleep(void) {
    size_t base = resident();
    begin();
    malloc_trim(0);
    expect("threads asleep",
           base + (hardened ? 6 : 4) * (size_t)MIB + threads * (hardened ? 144 : 112) * KIB);
    join();
}

/* Threads that have ended, and malloc_trim. Their stacks belong to libc, which may keep them. */
static void ended(void) {
    static void *objs[1000];
    size_t base = resident(), live = 0;
    for (int i = 0; i < 1000; i++) {
        size_t size = log_between(&state, 12, 16);
        objs[i] = touched(size, PAGE);
        live += size;
    }
    begin();
    join();
    malloc_trim(0);
    expect("ended threads", base + live / 10 * 11 + live / 8 + threads * 24 * KIB + 3 * (size_t)MIB);
    for (int i = 0; i < 1000; i++)
        free(objs[i]);
    malloc_trim(0);
    expect("nothing", base + threads * 24 * KIB + 3 * (size_t)MIB);
}

/* Buffers that are mostly empty. */
static void sparse(void) {
    size_t base = resident(), pages = 0;
    for (int i = 0; i < 800; i++) {
        size_t size = log_between(&state, 19, 22), step = size / between(1, 4);
        touched(size, step);
        pages += (size + step - 1) / step;
    }
    expect("sparse buffers", base + pages * PAGE / 4 * 5 + 12 * (size_t)MIB);
}

/* Zeroed memory that nobody touches: fresh memory, and the same memory a second time. */
static void zeroed(void) {
    static void *objs[600];
    size_t base = resident();
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 600; i++)
            if ((objs[i] = calloc(1, log_between(&state, 16, 20))) == NULL)
                abort();
        expect("zeroed memory", base + 24 * (size_t)MIB);
        for (int i = 0; i < 600; i++)
            free(objs[i]);
        malloc_trim(0);
    }
}

/* Large buffers that are freed, and almost no calls after that. */
static void quiet(void) {
    size_t base = resident(), live = 0;
    void *objs[40];
    size_t sizes[40];
    for (int i = 0; i < 40; i++) {
        sizes[i] = between(9, 30) * MIB;
        objs[i] = touched(sizes[i], PAGE);
        live += sizes[i];
    }
    size_t kept = between(0, 10);
    for (size_t i = kept; i < 40; i++) {
        free(objs[i]);
        live -= sizes[i];
    }
    expect("freed", base + live / 10 * 11 + 40 * (size_t)MIB);
    for (int i = 0; i < 200; i++)
        objs[kept + (size_t)i % 20] = touched(between(300, 900) * KIB, PAGE);
    for (int i = 0; i < 40; i++) {
        usleep(70 * 1000);
        free(touched(between(300, 900) * KIB, PAGE));
    }
    expect("quiet", base + live / 10 * 11 + 200 * 1125 * (size_t)KIB + 16 * (size_t)MIB);
}

/* Page tables that a child gets, in bytes: what a fork copies. */
static size_t copied(void) {
    int ends[2];
    char text[4096], *found;
    if (pipe(ends) != 0)
        abort();
    pid_t child = fork();
    if (child == 0) {
        int file = open("/proc/self/status", O_RDONLY);
        ssize_t got = read(file, text, sizeof text);
        _exit(got <= 0 || write(ends[1], text, (size_t)got) != got);
    }
    int status;
    ssize_t got = read(ends[0], text, sizeof text - 1);
    if (waitpid(child, &status, 0) != child || status != 0 || got <= 0)
        abort();
    close(ends[0]);
    close(ends[1]);
    text[got] = 0;
    if ((found = strstr(text, "VmPTE:")) == NULL)
        abort();
    return strtoul(found + 6, NULL, 10) * KIB;
}

/* Large buffers, of which the start is used, are freed at a rate at which each gets a guard. A fork then copies a page
 * table for each that was touched, at most, but none for memory that is free. */
static void forked(void) {
    void *objs[200];
    size_t base = copied();
    for (int i = 0; i < 200; i++)
        objs[i] = touched(between(6, 15) * MIB, 64 * MIB);
    shuffle(objs, 200);
    for (int i = 0; i < 200; i++) {
        usleep(1200);
        free(objs[i]);
    }
    size_t most = base + 200 * (size_t)PAGE + 256 * KIB, have = copied();
    if (have > most) {
        fprintf(stderr, "a fork copies %zu KiB of page tables, at most %zu\n", have / KIB, most / KIB);
        exit(1);
    }
}

/* What other code of the process can map under a limit that comes at run time: thread stacks, for example. */
static void limited(void) {
    char text[256];
    size_t got = 0;
    int file = open("/proc/self/statm", O_RDONLY);
    ssize_t size = read(file, text, sizeof text - 1);
    if (size <= 0)
        abort();
    close(file);
    text[size] = 0;
    struct rlimit limit = {strtoul(text, NULL, 10) * PAGE + 160 * (size_t)MIB, RLIM_INFINITY};
    if (setrlimit(RLIMIT_AS, &limit) != 0)
        abort();
    for (int i = 0; i < 400; i++)
        free(touched(between(300 * KIB, 6 * MIB), PAGE));
    while (mmap(NULL, MIB, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED)
        got++;
    if (got < 64) { /* 64 MiB of free large memory may be kept, and a quarantine */
        fprintf(stderr, "of 160 MiB only %zu can be mapped, at least 64 should be\n", got);
        exit(1);
    }
}

static const struct {
    const char *name;
    void (*run)(void);
} scenarios[] = {{"asleep", asleep}, {"calloc", zeroed}, {"ended", ended},
                 {"forked", forked}, {"idle", idle},     {"limited", limited},
                 {"phases", phases}, {"quiet", quiet},   {"sparse", sparse}};

static int run(const char *name, const char *seed) {
    const char *variant = getenv("HAKMEM_TEST_VARIANT");
    hardened = variant != NULL && strcmp(variant, "hardened") == 0;
    state = strtoul(seed, NULL, 10);
    for (size_t i = 0; i < sizeof scenarios / sizeof scenarios[0]; i++)
        if (strcmp(scenarios[i].name, name) == 0) {
            scenarios[i].run();
            return 0;
        }
    return 2;
}

int main(int argc, char **argv) {
    if (argc == 3)
        return run(argv[1], argv[2]);
    int failed = argc != 2;
    if (argc == 2 && strcmp(argv[1], "asleep") == 0)
        setenv("HAKMEM_HARDENING", "quarantine:off", 1);
    for (int seed = 1; seed <= SEEDS && argc == 2; seed++) {
        char text[16];
        pid_t child;
        int status = 0;
        snprintf(text, sizeof text, "%d", seed);
        char *args[] = {argv[0], argv[1], text, NULL};
        if (posix_spawn(&child, "/proc/self/exe", NULL, NULL, args, environ) != 0 ||
            waitpid(child, &status, 0) != child || status != 0) {
            fprintf(stderr, "%s: seed %d: status %d\n", argv[1], seed, status);
            failed = 1;
        }
    }
    return failed;
}
