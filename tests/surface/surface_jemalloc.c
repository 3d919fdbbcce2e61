/* surface_jemalloc.c: jemalloc's own calls beside malloc's, mixed as in a program made for jemalloc: one heap serves
 * both. Run under each variant's .so, before a library that has these calls too, and linked with it. Prints the
 * first line that is wrong; exit 1. */
#include "include/hakmem_jemalloc.h"
#include "tests/surface/want.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Small, of the coarse classes, large. */
static const size_t sizes[] = {1, 16, 100, 1000, 1024, 5000, 100000, 262144, 262145, 3000001};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

static bool all(const unsigned char *bytes, size_t from, size_t to, unsigned char is) {
    for (size_t i = from; i < to; i++)
        if (bytes[i] != is)
            return false;
    return true;
}

/* Each family frees the other's objects; an object has the size that nallocx returns, and sdallocx accepts that
 * size. */
static void one_heap(size_t size) {
    WANT(nallocx(size, 0) >= size);
    void *obj = malloc(size);
    WANT(sallocx(obj, 0) >= size && sallocx(obj, 0) == malloc_usable_size(obj));
    sdallocx(obj, size, 0);
    dallocx(malloc(size), 0);
    obj = mallocx(size, 0);
    WANT(obj != NULL && malloc_usable_size(obj) == nallocx(size, 0) && sallocx(obj, 0) == nallocx(size, 0));
    memset(obj, 1, sallocx(obj, 0));
    free(obj);
    obj = mallocx(size, MALLOCX_TCACHE_NONE | MALLOCX_ARENA(0));
    memset(obj, 2, nallocx(size, 0));
    obj = realloc(obj, size + 100);
    WANT(all(obj, 0, size, 2));
    obj = rallocx(obj, 2 * size, MALLOCX_TCACHE(3));
    WANT(all(obj, 0, size, 2) && sallocx(obj, 0) >= 2 * size);
    sdallocx(obj, 2 * size, MALLOCX_TCACHE(3));
    sdallocx(mallocx(size, 0), nallocx(size, 0), 0);
}

static void alignments(size_t size) {
    for (int lg = 0; lg <= 21; lg += 3) {
        size_t align = (size_t)1 << lg;
        void *obj = mallocx(size, MALLOCX_LG_ALIGN(lg) | MALLOCX_ZERO);
        WANT(obj != NULL && (uintptr_t)obj % align == 0 && all(obj, 0, size, 0));
        WANT(sallocx(obj, 0) == nallocx(size, MALLOCX_LG_ALIGN(lg)));
        memset(obj, 3, size);
        obj = rallocx(obj, size + 1000, MALLOCX_ALIGN(align) | MALLOCX_ZERO);
        WANT(obj != NULL && (uintptr_t)obj % align == 0 && all(obj, 0, size, 3));
        obj = rallocx(obj, size / 2 + 1, MALLOCX_ALIGN(align));
        WANT(obj != NULL && (uintptr_t)obj % align == 0 && all(obj, 0, size / 2, 3));
        sdallocx(obj, size / 2 + 1, MALLOCX_LG_ALIGN(lg));
        free(mallocx(size, MALLOCX_ALIGN(align)));
    }
    WANT(MALLOCX_ALIGN(64) == 6 && MALLOCX_ALIGN((size_t)1 << 35) == 35 && MALLOCX_ALIGN(1) == 0);
}

/* Freed with other contents first, so that zeros were made on purpose. */
static void zeros(size_t size) {
    void *dirty[8];
    for (int i = 0; i < 8; i++)
        memset(dirty[i] = malloc(size), 0xff, size);
    for (int i = 0; i < 8; i++)
        free(dirty[i]);
    for (int i = 0; i < 8; i++)
        WANT(all(dirty[i] = mallocx(size, MALLOCX_ZERO), 0, size, 0));
    for (int i = 0; i < 8; i++) {
        size_t had = sallocx(dirty[i], 0);
        memset(dirty[i], 0xff, had);
        unsigned char *longer = rallocx(dirty[i], 3 * size, MALLOCX_ZERO);
        WANT(all(longer, 0, size, 0xff) && all(longer, had, 3 * size, 0));
        free(longer);
    }
}

/* All bytes of an object are zero, so the bytes that it gains in place are zero, too, whatever was there before. */
static void zeros_to_the_end(size_t size, int flags) {
    void *dirty[8];
    for (int i = 0; i < 8; i++)
        memset(dirty[i] = mallocx(size, flags), 0xff, nallocx(size, flags));
    for (int i = 0; i < 8; i++)
        dallocx(dirty[i], flags);
    for (int i = 0; i < 8; i++) {
        unsigned char *obj = mallocx(size, flags | MALLOCX_ZERO);
        WANT(all(obj, 0, sallocx(obj, 0), 0));
        obj = rallocx(obj, size + 7, flags | MALLOCX_ZERO);
        WANT(all(obj, 0, sallocx(obj, 0), 0));
        size_t has = xallocx(obj, size + 11, 3, flags | MALLOCX_ZERO);
        WANT(all(obj, 0, has, 0));
        dirty[i] = obj;
    }
    for (int i = 0; i < 8; i++)
        dallocx(dirty[i], flags);
}

/* A caller that asks for 30 to 1030 bytes, and has 100, does not get less because 1030 is impossible. */
static void never_less_than_it_had(void) {
    for (int i = 0; i < 100; i++) {
        void *obj = mallocx(100, 0);
        size_t had = sallocx(obj, 0);
        WANT(xallocx(obj, 60, 1 << 20, 0) >= had && sallocx(obj, 0) >= had);
        free(obj);
    }
}

/* The object stays in place, and the call returns its size; new bytes are zero where that is requested. */
static void in_place(size_t size) {
    unsigned char *obj = mallocx(size, 0);
    memset(obj, 4, size);
    size_t had = sallocx(obj, 0), has = xallocx(obj, size, 0, 0);
    WANT(has >= size);
    has = xallocx(obj, size + 8, size, MALLOCX_ZERO);
    WANT(has == sallocx(obj, 0) && all(obj, 0, size, 4));
    WANT(has <= had || all(obj, had, has, 0));
    WANT(has < size + 8 || has >= size + 8);
    WANT(xallocx(obj, SIZE_MAX / 4, SIZE_MAX, 0) == has); /* impossible: nothing has changed */
    memset(obj, 5, has);
    WANT(xallocx(obj, size / 2 + 1, 0, 0) >= size / 2 + 1 && all(obj, 0, size / 2 + 1, 5));
    dallocx(obj, 0);
}

/* A large object's neighbours are sometimes free, and a slot has room up to its class: somewhere the object grows. */
static void grows_somewhere(void) {
    bool grown = false;
    for (size_t size = 1; size < 200 && !grown; size++) {
        void *obj = mallocx(size, 0);
        grown = xallocx(obj, size + 1, 0, 0) >= size + 1;
        free(obj);
    }
    WANT(grown);
}

/* An object without the requested alignment stays unchanged; an impossible sum of sizes counts as none. */
static void in_place_or_not(void) {
    unsigned grown = 0; /* not those that end where a guard begins */
    for (int i = 0; i < 100; i++) {
        void *obj = mallocx(30, 0);
        size_t had = sallocx(obj, 0);
        if ((uintptr_t)obj % 65536 != 0)
            WANT(xallocx(obj, 31, 0, MALLOCX_ALIGN(65536)) == had && sallocx(obj, 0) == had);
        size_t now = xallocx(obj, 31, SIZE_MAX, 0);
        WANT(now == sallocx(obj, 0) && now >= had);
        grown += now >= 31;
        dallocx(obj, 0);
    }
    WANT(grown > 50);
}

static void refused(void) {
    volatile size_t huge = SIZE_MAX / 2 + 10;
    errno = 0;
    WANT(mallocx(huge, 0) == NULL && errno == ENOMEM && nallocx(huge, 0) == 0);
    WANT(nallocx(SIZE_MAX / 2, 0) <= SIZE_MAX / 2 && nallocx(SIZE_MAX, MALLOCX_ALIGN(4096)) == 0);
    WANT(mallocx(huge, MALLOCX_ZERO) == NULL && mallocx(huge, MALLOCX_ALIGN(4096)) == NULL);
    void *obj = mallocx(100, 0);
    WANT(rallocx(obj, huge, 0) == NULL && rallocx(obj, huge, MALLOCX_ALIGN(64)) == NULL &&
         sallocx(obj, 0) >= 100);
    errno = 7;
    dallocx(obj, 0);
    sdallocx(mallocx(50, 0), 50, 0);
    WANT(errno == 7);
}

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
    for (int i = 0; i < SIZES; i++) {
        one_heap(sizes[i]);
        alignments(sizes[i]);
        zeros(sizes[i]);
        zeros_to_the_end(sizes[i], 0);
        zeros_to_the_end(sizes[i], MALLOCX_ALIGN(64));
        in_place(sizes[i]);
    }
    grows_somewhere();
    never_less_than_it_had();
    in_place_or_not();
    refused();
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
    puts("jemalloc's calls do what they should");
    return 0;
}
