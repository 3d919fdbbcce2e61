/* surface_info.c: the figures of mallinfo, mallinfo2, malloc_info, malloc_stats and malloc_trim, compared with what
 * the program knows to be live and freed. Run under each variant's .so. Prints the first line that is wrong; exit 1. */
#include "tests/surface/want.h"

#include "include/hakmem.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#pragma weak hak_stats_read

enum {
    MIB = 1024 * 1024,
    COUNT = 5 * 1024, /* of 1,008 bytes: 5 MiB; slots are no more than a quarter larger */
    SIZE = 1008,
    LARGE = 5 * MIB,   /* one large object */
    SLACK = 64 * 1024, /* the memory of a few samples and of stdio's buffers */
};

static void *objs[COUNT];

static void fill(size_t size) {
    for (int i = 0; i < COUNT; i++) {
        objs[i] = malloc(size);
        WANT(objs[i] != NULL);
        memset(objs[i], 1, size);
    }
}
static void drop(int first, int step) {
    for (int i = first; i < COUNT; i += step)
        free(objs[i]);
}

static size_t distance(size_t a, size_t b) {
    return a > b ? a - b : b - a;
}

static struct mallinfo2 look(void) {
    struct mallinfo2 now = mallinfo2();
    WANT(now.arena == now.uordblks + now.fordblks); /* as in glibc */
    WANT(now.fsmblks <= now.fordblks && now.keepcost <= now.fordblks);
    WANT(now.usmblks == 0 && (now.hblks == 0) == (now.hblkhd == 0) &&
         (now.smblks == 0) == (now.fsmblks == 0));
    return now;
}

/* Small objects: live, half of them freed, all freed. */
static void small_objects(size_t size) {
    struct mallinfo2 before = look();
    fill(size);
    struct mallinfo2 live = look();
    size_t all = COUNT * size, more = live.uordblks - before.uordblks;
    WANT(more >= all && more <= all + all / 4 + SLACK);
    WANT(live.hblks == before.hblks && live.hblkhd == before.hblkhd);
    drop(0, 2);
    struct mallinfo2 half = look();
    WANT(distance(live.uordblks - half.uordblks, more / 2) <= SLACK);
    WANT(half.ordblks + half.smblks >= live.ordblks + live.smblks + COUNT / 2 - 64);
    drop(1, 2);
    struct mallinfo2 none = look();
    WANT(distance(none.uordblks, before.uordblks) <= SLACK);
    WANT(distance(none.fordblks - before.fordblks, none.arena - before.arena) <= SLACK);
}

/* Large objects are counted once, apart from the small ones. */
static void large_objects(void) {
    struct mallinfo2 before = look();
    char *a = malloc(LARGE), *b = malloc(LARGE);
    WANT(a != NULL && b != NULL);
    memset(a, 1, LARGE);
    memset(b, 1, LARGE);
    struct mallinfo2 live = look();
    WANT(live.hblks == before.hblks + 2 && distance(live.hblkhd - before.hblkhd, 2 * LARGE) <= SLACK);
    WANT(distance(live.uordblks, before.uordblks) <= SLACK);
    free(a);
    struct mallinfo2 one = look();
    WANT(one.hblks == before.hblks + 1 && distance(one.hblkhd - before.hblkhd, LARGE) <= SLACK);
    b = realloc(b, 3 * LARGE);
    WANT(b != NULL);
    struct mallinfo2 grown = look();
    WANT(grown.hblks == before.hblks + 1 && distance(grown.hblkhd - before.hblkhd, 3 * LARGE) <= SLACK);
    free(b);
    struct mallinfo2 none = look();
    WANT(none.hblks == before.hblks && none.hblkhd == before.hblkhd);
    WANT(distance(none.uordblks, before.uordblks) <= SLACK);
}

/* Memory that threads and the quarantine hold is not in use: for classes that were not used before. */
static void set_aside(void) {
    enum { EACH = 48 };
    static const size_t sizes[] = {17000, 21000, 27000, 33000, 42000, 55000, 80000, 120000};
    struct mallinfo2 before = look();
    for (unsigned s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        for (int i = 0; i < EACH; i++)
            WANT((objs[i] = malloc(sizes[s])) != NULL);
        for (int i = 0; i < EACH; i++)
            free(objs[i]);
    }
    WANT(distance(look().uordblks, before.uordblks) <= SLACK);
}

/* With HAKMEM_SAMPLE_RATE=1: objects between guards are in use as well, in whole pages. */
static void sampled(void) {
    enum { EACH = 100, PAGE = 4096 };
    free(malloc(1));
    struct mallinfo2 before = look();
    for (int i = 0; i < EACH; i++)
        WANT((objs[i] = malloc(SIZE)) != NULL);
    size_t more = look().uordblks - before.uordblks;
    WANT(more >= (size_t)EACH * SIZE && more <= (size_t)EACH * 16 * PAGE);
    for (int i = 0; i < EACH; i++)
        free(objs[i]);
    WANT(distance(look().uordblks, before.uordblks) <= PAGE);
}

/* malloc_trim empties what threads and the quarantine hold, except a quarter of a MiB. */
static void trims_what_is_held(void) {
    enum { MANY = 60000 };
    static void *many[MANY];
    for (int i = 0; i < MANY; i++)
        WANT((many[i] = malloc(24)) != NULL);
    for (int i = 0; i < MANY; i++)
        free(many[i]);
    struct mallinfo2 before = look();
    WANT(before.smblks != 0);
    (void)malloc_trim(0);
    struct mallinfo2 after = look();
    int holds = strcmp(getenv("HAKMEM_TEST_VARIANT"), "speed") != 0;
    WANT(holds ? before.fsmblks > MIB && after.fsmblks <= MIB / 4 : after.smblks == 0);
}

/* malloc_trim gives back the memory that it reports, and keeps the memory that it is told to keep. */
static void trims(void) {
    void *small = malloc(100); /* so that an object is live */
    char *large = malloc(LARGE);
    WANT(small != NULL && large != NULL);
    memset(large, 1, LARGE);
    fill(4 * SIZE); /* 20 MiB, and after that no fresh memory, which would take the place of what is free */
    drop(0, 1);
    free(large);
    (void)malloc_trim(100ul * MIB); /* all memory may stay: but caches are emptied */
    struct mallinfo2 before = look();
    size_t keep = before.keepcost / 2;
    WANT(malloc_trim(keep) == 1);
    struct mallinfo2 kept = look();
    WANT(keep >= 8 * MIB && kept.keepcost <= keep && kept.keepcost + 3 * MIB >= keep);
    WANT(distance(kept.arena + (before.keepcost - kept.keepcost), before.arena) <= SLACK);
    (void)malloc_trim(0);
    WANT(look().keepcost == 0);
    free(small);
}

/* Memory in other threads' caches is not in use either. */
static sem_t freed, go;
static void *worker(void *unused) {
    void **mine = malloc(COUNT * sizeof *mine);
    WANT(mine != NULL);
    for (int i = 0; i < COUNT; i++)
        mine[i] = malloc(SIZE);
    for (int i = 0; i < COUNT; i++)
        free(mine[i]);
    free(mine);
    sem_post(&freed);
    sem_wait(&go);
    return unused;
}
static void other_threads(void) {
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    sem_init(&freed, 0, 0);
    sem_init(&go, 0, 0);
    struct mallinfo2 before = look();
    for (int i = 0; i < THREADS; i++)
        WANT(pthread_create(&threads[i], NULL, worker, NULL) == 0);
    for (int i = 0; i < THREADS; i++)
        sem_wait(&freed);
    struct mallinfo2 now = look();
    WANT(distance(now.uordblks, before.uordblks) <= THREADS * SLACK);
    for (int i = 0; i < THREADS; i++)
        sem_post(&go);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    WANT(distance(look().uordblks, before.uordblks) <= THREADS * SLACK);
}

/* The old form reports the same, and INT_MAX at most. */
static void old_form(void) {
    struct mallinfo2 wide = look();
    struct mallinfo old = mallinfo();
    WANT((size_t)old.arena == wide.arena && (size_t)old.ordblks == wide.ordblks);
    WANT((size_t)old.smblks == wide.smblks && (size_t)old.fsmblks == wide.fsmblks);
    WANT((size_t)old.hblks == wide.hblks && (size_t)old.hblkhd == wide.hblkhd && old.usmblks == 0);
    WANT((size_t)old.uordblks == wide.uordblks && (size_t)old.fordblks == wide.fordblks);
    WANT((size_t)old.keepcost == wide.keepcost);
    void *three_gib = malloc((size_t)3 << 30);
    if (three_gib != NULL) /* otherwise the machine has no room for it */
        WANT(mallinfo().hblkhd == 0x7fffffff);
    free(three_gib);
}

/* For the Python side: with 5 MiB live in small objects, 5 MiB live in a large one, and as much freed, writes the
 * XML to descriptor 3, the figures of malloc_stats to stderr, and mallinfo2's to stdout. */
static void print_all(void) {
    FILE *xml = fdopen(3, "w");
    WANT(xml != NULL);
    setvbuf(xml, NULL, _IONBF, 0);
    static char out[BUFSIZ];
    setvbuf(stdout, out, _IOFBF, sizeof out);
    char *large = malloc(LARGE), *more = malloc(2 * LARGE);
    WANT(large != NULL && more != NULL);
    free(more);
    fill(SIZE);
    drop(0, 2);
    errno = 0;
    WANT(malloc_info(1, xml) == -1 && errno == EINVAL);
    struct mallinfo2 now = look();
    hak_stats own;
    hak_stats_read(&own);
    errno = 77;
    WANT(malloc_info(0, xml) == 0 && errno == 77);
    malloc_stats();
    WANT(errno == 77);
    printf("%zu %zu %zu %u %zu %u\n", (size_t)own.mapped_bytes, (size_t)own.committed_bytes,
           (size_t)own.live_slab_bytes, own.superslabs, (size_t)own.metadata_bytes, own.caches);
    printf("%zu %zu %zu %zu %zu %zu %zu %zu %zu\n", now.arena, now.ordblks, now.smblks, now.hblks, now.hblkhd,
           now.fsmblks, now.uordblks, now.fordblks, now.keepcost);
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "sampled") == 0) {
        sampled();
        return 0;
    }
    if (argc > 1 && strcmp(argv[1], "print") == 0) {
        print_all();
        return 0;
    }
    small_objects(SIZE);
    small_objects(24);
    small_objects(9000);
    large_objects();
    trims();
    other_threads();
    old_form();
    set_aside();
    trims_what_is_held();
    return 0;
}
