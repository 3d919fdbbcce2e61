/* surface_mallctl.c: what a program can ask of mallctl and its kin: names, numbers, arenas, figures, statistics.
 * Runs as surface_jemalloc.c does. Prints the first line that is wrong; exit 1. */
#include "include/hakmem_jemalloc.h"
#include "tests/surface/want.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Read as a size_t, an unsigned, a bool. */
static size_t size_of(const char *name) {
    size_t value = 0, length = sizeof value;
    WANT(mallctl(name, &value, &length, NULL, 0) == 0 && length == sizeof value);
    return value;
}
static unsigned unsigned_of(const char *name) {
    unsigned value = 0;
    size_t length = sizeof value;
    WANT(mallctl(name, &value, &length, NULL, 0) == 0 && length == sizeof value);
    return value;
}

static bool bool_of(const char *name) {
    bool value = false;
    size_t length = sizeof value;
    WANT(mallctl(name, &value, &length, NULL, 0) == 0 && length == sizeof value);
    return value;
}

static void names(void) {
    const char *text = NULL;
    size_t length = sizeof text;
    WANT(mallctl("version", &text, &length, NULL, 0) == 0 && text[0] >= '0' && text[0] <= '9');
    uint64_t epoch = 1, first;
    length = sizeof epoch;
    WANT(mallctl("epoch", &epoch, &length, &epoch, sizeof epoch) == 0);
    first = epoch, epoch = 1;
    WANT(mallctl("epoch", &epoch, &length, &epoch, sizeof epoch) == 0 && epoch == first + 1);
    bool on = false, yes = true;
    length = sizeof on;
    WANT(mallctl("opt.tcache", &on, &length, NULL, 0) == 0 && on);
    WANT(mallctl("background_thread", &on, &length, &yes, sizeof yes) == 0 && !on);
    WANT(mallctl("background_thread", &on, &length, NULL, 0) == 0 && on);
    WANT(mallctl("thread.tcache.flush", NULL, NULL, NULL, 0) == 0);
    WANT(mallctl("arena.0.purge", NULL, NULL, NULL, 0) == 0 &&
         mallctl("arena.4096.purge", NULL, NULL, NULL, 0) == 0);
    WANT(mallctl("arena.0.decay", NULL, NULL, NULL, 0) == 0);
    ssize_t decay = 0, now = 0;
    length = sizeof now;
    WANT(mallctl("arena.0.dirty_decay_ms", NULL, NULL, &decay, sizeof decay) == 0);
    WANT(mallctl("arenas.dirty_decay_ms", &now, &length, NULL, 0) == 0 && now == 0);
    WANT(size_of("arenas.page") == (size_t)sysconf(_SC_PAGESIZE) && size_of("arenas.quantum") == 16);
    unsigned bins = unsigned_of("arenas.nbins");
    WANT(bins > 0 && size_of("arenas.bin.0.size") == 16 && unsigned_of("arenas.narenas") >= 1);
}

static void wrong_names(void) {
    size_t value = 0, length = sizeof value, mib[6], count = 6;
    static const char *const wrong[] = {"",
                                        "vers",
                                        "version.x",
                                        "stats",
                                        "stats.",
                                        ".version",
                                        "arena.purge",
                                        "arena.9.purge",
                                        "arena.x.purge",
                                        "arenas.bin.125.size",
                                        "epoch ",
                                        "stats.arenas",
                                        "arenas.bin.-1.size",
                                        "arena.18446744073709551616.purge",
                                        "arenas.bin.18446744073709551616.size",
                                        "v",
                                        "stat.allocated",
                                        "stats.alloc",
                                        "stats.allocated.x",
                                        "thread.allocatedp"};
    for (unsigned i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        WANT(mallctl(wrong[i], &value, &length, NULL, 0) == ENOENT);
        WANT(mallctlnametomib(wrong[i], mib, &count) == ENOENT);
    }
    WANT(mallctl("stats.allocated", NULL, NULL, &value, sizeof value) == EPERM);
    WANT(mallctl("arena.0.purge", &value, &length, NULL, 0) == EPERM);
    unsigned small = 0;
    length = sizeof small;
    WANT(mallctl("stats.allocated", &small, &length, NULL, 0) == EINVAL && length == sizeof small);
    WANT(mallctl("epoch", NULL, NULL, &small, sizeof small) == EINVAL);
    bool on = false;
    length = sizeof value;
    WANT(mallctl("opt.tcache", &value, &length, NULL, 0) == EINVAL && length == sizeof on);
    WANT(mallctl("version", NULL, NULL, &value, sizeof value) == EPERM);
    count = 6;
    WANT(mallctlnametomib("epoch", mib, &count) == 0 && count == 1);
    mib[1] = 0;
    WANT(mallctlbymib(mib, 2, NULL, NULL, NULL, 0) == ENOENT);
    mib[0] = 999, length = sizeof value;
    WANT(mallctlbymib(mib, 1, &value, &length, NULL, 0) == ENOENT &&
         mallctlbymib(mib, 0, NULL, NULL, NULL, 0) == ENOENT);
}

static void by_numbers(void) {
    size_t mib[6], count = 6, value, length = sizeof value;
    WANT(mallctlnametomib("arenas.bin.0.size", mib, &count) == 0 && count == 4 && mib[2] == 0);
    for (size_t bin = 0, before = 0; bin < unsigned_of("arenas.nbins"); bin++, before = value) {
        mib[2] = bin;
        WANT(mallctlbymib(mib, count, &value, &length, NULL, 0) == 0 && value > before);
    }
    size_t guard =
        strcmp(getenv("HAKMEM_TEST_VARIANT"), "speed") == 0 ? 0 : size_of("arenas.page"); /* of a slab */
    for (size_t bin = 0; bin < unsigned_of("arenas.nbins"); bin++) {
        char name[64];
        static const char *const of[] = {"size", "nregs", "slab_size"};
        size_t of_bin[3];
        for (int i = 0; i < 3; i++) {
            (void)snprintf(name, sizeof name, "arenas.bin.%zu.%s", bin, of[i]);
            of_bin[i] = i == 1 ? unsigned_of(name) : size_of(name);
        }
        WANT(of_bin[1] * of_bin[0] <= of_bin[2] && (of_bin[1] + 1) * of_bin[0] + guard > of_bin[2]);
        WANT(nallocx(of_bin[0], 0) == of_bin[0]);
    }
    mib[2] = unsigned_of("arenas.nbins");
    WANT(mallctlbymib(mib, count, &value, &length, NULL, 0) == ENOENT);
    count = 1; /* a part of it */
    WANT(mallctlnametomib("stats.arenas.0.pactive", mib, &count) == 0 && count == 1);
    count = 6;
    WANT(mallctlnametomib("epoch", mib, &count) == 0 && count == 1);
}

/* As programs do that make a heap of their own, which is a number here. */
static void arenas(void) {
    unsigned arena = 0, tcache = 0, again = 0;
    size_t length = sizeof arena;
    char name[64];
    WANT(mallctl("arenas.create", &arena, &length, NULL, 0) == 0 && arena >= 1);
    WANT(unsigned_of("arenas.narenas") > arena);
    WANT(mallctl("tcache.create", &tcache, &length, NULL, 0) == 0);
    void *obj = mallocx(1000, MALLOCX_ARENA(arena) | MALLOCX_TCACHE(tcache));
    WANT(obj != NULL);
    dallocx(obj, MALLOCX_TCACHE(tcache));
    WANT(mallctl("tcache.flush", NULL, NULL, &tcache, sizeof tcache) == 0);
    WANT(mallctl("tcache.destroy", NULL, NULL, &tcache, sizeof tcache) == 0);
    (void)snprintf(name, sizeof name, "stats.arenas.%u.small.allocated", arena);
    WANT(size_of(name) == 0);
    (void)snprintf(name, sizeof name, "arena.%u.purge", unsigned_of("arenas.narenas")); /* old: all of them */
    WANT(mallctl(name, NULL, NULL, NULL, 0) == 0);
    (void)snprintf(name, sizeof name, "arena.%u.destroy", arena);
    WANT(mallctl(name, NULL, NULL, NULL, 0) == 0 && mallctl(name, NULL, NULL, NULL, 0) == EFAULT);
    WANT(mallctl("arenas.create", &again, &length, NULL, 0) == 0 && again == arena);
    WANT(mallctl("arena.0.destroy", NULL, NULL, NULL, 0) == EFAULT);
    WANT(mallctl("thread.arena", &arena, &length, &again, sizeof again) == 0 && arena == 0);
    WANT(unsigned_of("thread.arena") == again);
    unsigned same = 0; /* one variable for both: the written value counts, the old value is stored after it */
    WANT(mallctl("thread.arena", &same, &length, &same, sizeof same) == 0 && same == again);
    WANT(unsigned_of("thread.arena") == 0);
    unsigned nobodys = 4000;
    WANT(mallctl("thread.arena", NULL, NULL, &nobodys, sizeof nobodys) == EFAULT &&
         unsigned_of("thread.arena") == 0);
    unsigned had = unsigned_of("arenas.narenas");
    size_t wide = 0, wide_length = sizeof wide;
    WANT(mallctl("arenas.create", &wide, &wide_length, NULL, 0) == EINVAL);
    WANT(mallctl("arenas.create", NULL, NULL, NULL, 0) == EINVAL && unsigned_of("arenas.narenas") == had);
    WANT(mallctl("arenas.create", &arena, &length, NULL, 0) == 0 && arena == had);
    (void)snprintf(name, sizeof name, "arena.%u.initialized", arena);
    WANT(bool_of(name));
    (void)snprintf(name, sizeof name, "arena.%u.reset", arena);
    WANT(mallctl(name, NULL, NULL, NULL, 0) == 0);
    (void)snprintf(name, sizeof name, "arena.%u.destroy", arena);
    WANT(mallctl(name, NULL, NULL, NULL, 0) == 0);
    (void)snprintf(name, sizeof name, "arena.%u.initialized", arena);
    WANT(!bool_of(name));
    (void)snprintf(name, sizeof name, "arena.%u.reset", arena);
    WANT(mallctl(name, NULL, NULL, NULL, 0) == EFAULT &&
         mallctl("arena.0.reset", NULL, NULL, NULL, 0) == EFAULT);
    bool off = false, on = true;
    WANT(bool_of("thread.tcache.enabled"));
    WANT(mallctl("thread.tcache.enabled", NULL, NULL, &off, sizeof off) == 0 &&
         !bool_of("thread.tcache.enabled"));
    WANT(mallctl("thread.tcache.enabled", NULL, NULL, &on, sizeof on) == 0 &&
         bool_of("thread.tcache.enabled"));
}

/* Their number has a limit. The call reports it, and nothing is worse than before. */
static void all_arenas(void) {
    unsigned arena, last = 0, made = 0;
    size_t length = sizeof arena;
    char name[64];
    while (mallctl("arenas.create", &arena, &length, NULL, 0) == 0 && made < 100000)
        last = arena, made++;
    length = sizeof arena;
    WANT(made > 1000 && made < 100000 && mallctl("arenas.create", &arena, &length, NULL, 0) == EAGAIN);
    (void)snprintf(name, sizeof name, "arena.%u.destroy", last);
    WANT(mallctl(name, NULL, NULL, NULL, 0) == 0);
    length = sizeof arena;
    WANT(mallctl("arenas.create", &arena, &length, NULL, 0) == 0 && arena == last);
}

static char printed[65536];
static void collect(void *opaque, const char *text) {
    size_t used = *(size_t *)opaque, more = strlen(text);
    WANT(used + more < sizeof printed);
    memcpy(printed + used, text, more + 1);
    *(size_t *)opaque += more;
}

/* The columns are: bin, size, live, free. */
static void printed_has_live(size_t count) {
    size_t used = 0, most = 0, bin, size, live, free_ones;
    malloc_stats_print(collect, &used, "");
    for (const char *line = printed; line != NULL && *line != '\0'; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (sscanf(line, "%zu %zu %zu %zu", &bin, &size, &live, &free_ones) == 4)
            most = live > most ? live : most;
    }
    WANT(most >= count * 9 / 10 && most <= count + 1000);
}

static pthread_barrier_t all_there, all_seen;
static void *is_there(void *unused) {
    dallocx(mallocx(100, 0), 0);
    pthread_barrier_wait(&all_there);
    pthread_barrier_wait(&all_seen);
    return unused;
}

static void more_figures(void) {
    enum { LARGE = 3, DIRTY = 20000 };
    void *large[LARGE];
    static void *dirty[DIRTY];
    size_t count = size_of("stats.arenas.0.large.curobjs"), bytes = size_of("stats.arenas.0.large.allocated");
    for (int i = 0; i < LARGE; i++)
        large[i] = mallocx(3000000, 0);
    WANT(size_of("stats.arenas.0.large.curobjs") == count + LARGE);
    bytes = size_of("stats.arenas.0.large.allocated") - bytes;
    WANT(bytes >= (size_t)LARGE * 3000000 && bytes < (size_t)LARGE * 3100000);
    for (int i = 0; i < LARGE; i++)
        dallocx(large[i], 0);
    for (int i = 0; i < DIRTY; i++)
        memset(dirty[i] = mallocx(1500, 0), 1, 1500);
    for (int i = 0; i < DIRTY; i++)
        dallocx(dirty[i], 0);
    WANT(mallctl("thread.tcache.flush", NULL, NULL, NULL, 0) == 0);
    size_t before = size_of("stats.arenas.0.pdirty") * size_of("arenas.page");
    WANT(before >= (size_t)DIRTY * 1500 / 2 && before < (size_t)200 << 20);
    WANT(mallctl("arena.0.purge", NULL, NULL, NULL, 0) == 0);
    WANT(size_of("stats.arenas.0.pdirty") * size_of("arenas.page") < before / 8);
    pthread_t threads[2];
    unsigned had = unsigned_of("stats.arenas.0.nthreads");
    WANT(had == 1 && pthread_barrier_init(&all_there, NULL, 3) == 0 &&
         pthread_barrier_init(&all_seen, NULL, 3) == 0);
    for (int i = 0; i < 2; i++)
        WANT(pthread_create(&threads[i], NULL, is_there, NULL) == 0);
    pthread_barrier_wait(&all_there);
    WANT(unsigned_of("stats.arenas.0.nthreads") == had + 2);
    pthread_barrier_wait(&all_seen);
    for (int i = 0; i < 2; i++)
        WANT(pthread_join(threads[i], NULL) == 0);
    if (strcmp(getenv("HAKMEM_TEST_VARIANT"), "speed") == 0) { /* the other's quarantine stays */
        dallocx(mallocx(100, 0), 0);
        WANT(size_of("stats.arenas.0.tcache_bytes") > 0);
        WANT(mallctl("thread.tcache.flush", NULL, NULL, NULL, 0) == 0 &&
             size_of("stats.arenas.0.tcache_bytes") == 0);
    }
}

static void figures(void) {
    enum { COUNT = 4000, SIZE = 1008 };
    static void *objs[COUNT];
    size_t before = size_of("stats.allocated"), bins = size_of("stats.arenas.0.small.allocated");
    for (int i = 0; i < COUNT; i++)
        memset(objs[i] = mallocx(SIZE, 0), 1, SIZE);
    size_t live = size_of("stats.allocated");
    WANT(live - before >= (size_t)COUNT * SIZE && live - before <= (size_t)COUNT * SIZE * 5 / 4 + 65536);
    WANT(size_of("stats.arenas.0.small.allocated") - bins == live - before);
    WANT(size_of("stats.active") >= live && size_of("stats.resident") >= size_of("stats.active"));
    WANT(size_of("stats.mapped") >= size_of("stats.resident"));
    size_t most = 0;
    char name[64];
    for (unsigned bin = 0; bin < unsigned_of("arenas.nbins"); bin++) {
        (void)snprintf(name, sizeof name, "stats.arenas.4096.bins.%u.curregs", bin);
        size_t regs = size_of(name);
        most = regs > most ? regs : most;
    }
    WANT(most >= COUNT * 9 / 10);
    for (unsigned bin = 0; bin < unsigned_of("arenas.nbins"); bin++) {
        size_t of_bin[3];
        static const char *const forms[] = {"stats.arenas.0.bins.%u.curregs",
                                            "stats.arenas.0.bins.%u.curslabs", "arenas.bin.%u.nregs"};
        for (int i = 0; i < 3; i++) {
            (void)snprintf(name, sizeof name, forms[i], bin);
            of_bin[i] = i == 2 ? unsigned_of(name) : size_of(name);
        }
        WANT(of_bin[1] >= (of_bin[0] + of_bin[2] - 1) / of_bin[2] && of_bin[1] <= of_bin[0] + 64);
        WANT(of_bin[0] < COUNT * 9 / 10 || of_bin[1] < 2 * COUNT / of_bin[2] + 8);
    }
    WANT(size_of("stats.arenas.0.pactive") == size_of("stats.active") / size_of("arenas.page"));
    printed_has_live(COUNT);
    for (int i = 0; i < COUNT; i++)
        free(objs[i]);
    WANT(size_of("stats.allocated") <= before + 65536);
}

static void collect_message(void *opaque, const char *text) {
    static size_t used;
    (void)opaque;
    collect(&used, text);
}

static void statistics(void) {
    size_t used = 0;
    errno = 77;
    malloc_stats_print(collect, &used, "J");
    WANT(errno == 77);
    static const char *const all[] = {"allocated", "active", "metadata", "resident", "mapped", "retained"};
    for (int i = 0; i < 6; i++) {
        char name[32], path[32];
        (void)snprintf(name, sizeof name, "\"%s\":", all[i]);
        (void)snprintf(path, sizeof path, "stats.%s", all[i]);
        const char *found = strstr(printed, name);
        WANT(found != NULL && strtoull(found + strlen(name), NULL, 10) == size_of(path));
    }
    WANT(strncmp(printed, "{\"jemalloc\":{", 13) == 0 && strstr(printed, "\"allocated\":") != NULL);
    used = 0;
    malloc_stats_print(collect, &used, NULL);
    WANT(strstr(printed, "resident: ") != NULL && strstr(printed, "hakmem") != NULL);
    printed[0] = '\0';
    malloc_message = collect_message;
    malloc_stats_print(NULL, NULL, "");
    WANT(strstr(printed, "resident: ") != NULL);
    malloc_message = NULL;
}

static void *work(void *unused) {
    for (int i = 0; i < 3000; i++) {
        size_t size = 1 + (size_t)i % 3000;
        char *obj = mallocx(size, i % 3 == 0 ? MALLOCX_ZERO : 0);
        obj[size - 1] = 1;
        obj = rallocx(obj, size + 50, 0);
        sdallocx(obj, size + 50, 0);
        unsigned arena;
        size_t length = sizeof arena;
        char name[32];
        WANT(mallctl("arenas.create", &arena, &length, NULL, 0) == 0);
        (void)snprintf(name, sizeof name, "arena.%u.destroy", arena);
        WANT(mallctl(name, NULL, NULL, NULL, 0) == 0);
    }
    return unused;
}

int main(void) {
    WANT(unsigned_of("thread.arena") == 0); /* before all others */
    names();
    wrong_names();
    by_numbers();
    arenas();
    more_figures();
    figures();
    statistics();
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        WANT(pthread_create(&threads[i], NULL, work, NULL) == 0);
    for (int i = 0; i < 3; i++)
        WANT(pthread_join(threads[i], NULL) == 0);
    all_arenas();
    puts("jemalloc's names do what they should");
    return 0;
}
