/* exit_sweep_test.c: the sweep at exit checks every object: of every class, anywhere in its slab, and large objects
 * of every kind. */
#include "tests/unit/unit.h"

#include "allocator/pages/size_class.h"
#include "hardening/ledger.h"
#include "hardening/sweep.h"
#include "include/hakmem.h"
#include "tests/hardening/again.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const PAST = "hakmem: heap overflow: exit(", *const AFTER =
                                                                    "hakmem: write after free: exit(";

/* Writes one byte `past` bytes past the end of an object that is never freed. */
typedef struct damage {
    size_t size, align, past;
} damage;

static void past_the_end(void *arg) {
    const damage *its = arg;
    char *obj = its->align != 0 ? hak_memalign(its->align, its->size) : hak_malloc(its->size);
    obj[its->size + its->past] ^= 1;
    hak_sweep_all();
}

static void every_class(void **state) {
    (void)state;
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++) {
        damage its = {hak_classes[cls].size - HAK_CANARY_BYTES, 0, 0};
        unit_expect_death(past_the_end, &its, PAST);
        its.past = HAK_CANARY_BYTES - 1;
        unit_expect_death(past_the_end, &its, PAST);
    }
}

static void after_free(void *arg) {
    char *obj = hak_malloc(*(size_t *)arg);
    hak_free(obj);
    obj[0] = 1;
    hak_sweep_all();
}
static void every_class_after_free(void **state) {
    (void)state;
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls += 3) {
        size_t size = hak_classes[cls].size - HAK_CANARY_BYTES;
        unit_expect_death(after_free, &size, AFTER);
    }
}

/* Returns an object whose slab is free and has lost its pages, and so its records. */
enum { FREED = 100000, FREED_SIZE = 8 };
static char *purged(void) {
    static char *all[FREED];
    for (int i = 0; i < FREED; i++)
        all[i] = hak_malloc(FREED_SIZE);
    for (int i = 0; i < FREED; i++)
        hak_free(all[i]);
    (void)hak_trim(0);
    for (int i = 0; i < FREED; i++) {
        hak_place place;
        if (hak_ledger_find(all[i], &place) &&
            hak_record_state(hak_record_load(place.record)) == HAK_SLOT_UNUSED)
            return all[i];
    }
    return NULL; /* so the expected death does not come */
}
static void purged_freed(void *arg) {
    (void)arg;
    char *obj = purged();
    if (obj != NULL)
        hak_free(obj);
}
static void purged_written(void *arg) {
    char *obj = purged();
    if (obj == NULL)
        return;
    obj[0] = 1;
    for (int i = 0; *(bool *)arg && i < 2 * FREED; i++)
        if (hak_malloc(FREED_SIZE) == NULL)
            return;
    hak_sweep_all();
}
static void after_the_pages(void **state) {
    (void)state;
    static bool reuse = true, at_exit = false;
    unit_expect_death(purged_freed, NULL, "hakmem: double free: free(");
    unit_expect_death(purged_written, &reuse, "hakmem: write after free: malloc(");
    unit_expect_death(purged_written, &at_exit, AFTER);
}

static void large(void **state) {
    (void)state;
    static const damage rows[] = {{300001, 0, 0},        {300001, 1 << 16, 0}, {300001, 1 << 20, 0},
                                  {5000001, 1 << 22, 7}, {1000, 1 << 21, 0},   {1000, 1 << 21, 2000},
                                  {300001, 0, 1000},     {20000001, 0, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        unit_expect_death(past_the_end, (void *)(uintptr_t)&rows[i], PAST);
}

/* Tries slots of one slab in turn, of which some lie across the ends of pages. */
/* The objects together are no more than the sweep of a forked child checks. */
enum { MANY = 2000, TRIED = 12, MOST = 1 << 18 };
static char *objs[MANY];
static void nth(void *arg) {
    const size_t *its = arg;
    objs[its[1]][its[0]] ^= 1;
    hak_sweep_all();
}
static void every_place(void **state) {
    (void)state;
    if (HAK_TSAN)
        skip(); /* ThreadSanitizer has its own thread: a child of several threads does not check what it inherits */
    static const size_t sizes[] = {40, 1200, 3000};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        size_t across = 0, within = 0, count = hak_min(MANY, MOST / sizes[s]);
        for (size_t i = 0; i < count; i++)
            objs[i] = hak_malloc(sizes[s]);
        for (size_t i = 0; i < count && (across < TRIED || within < TRIED); i++) {
            uintptr_t at = (uintptr_t)objs[i];
            bool is_across = at / 4096 != (at + sizes[s]) / 4096;
            size_t *seen = is_across ? &across : &within;
            if ((*seen)++ < TRIED)
                unit_expect_death(nth, (size_t[]){sizes[s], i}, PAST);
        }
        if (across < TRIED / 2)
            fail_msg("%zu bytes: %zu slots across pages, %zu within", sizes[s], across, within);
        for (size_t i = 0; i < count; i++)
            hak_free(objs[i]);
    }
}

/* What is left of an object that two threads freed at once: it is in both rings, and the record names one of them.
 * A thread frees it as the `first` or as the second one, and ends. */
enum { TWICE = 100 };
static void *frees(void *obj) {
    hak_free(obj);
    return NULL;
}
static void freed_by_two(bool first) {
    char before[TWICE + HAK_CANARY_BYTES];
    void *volatile hidden = hak_malloc(TWICE); /* the compiler does not know its size */
    char *obj = hidden;
    hak_place place;
    pthread_t thread;
    if (!hak_ledger_find(obj, &place))
        return;
    uint32_t live = hak_record_load(place.record);
    memcpy(before, obj, sizeof before);
    for (int i = 0; i < 2; i++) {
        if ((i == 0) != first)
            hak_free(obj);
        else if (pthread_create(&thread, NULL, frees, obj) != 0 || pthread_join(thread, NULL) != 0)
            return;
        if (i == 0) {
            memcpy(obj, before, sizeof before);
            hak_record_store(place.record, live);
        }
    }
    hak_sweep_all();
}
static const char *const BOTH = "hakmem: double free: exit(";
static void by_two(void *first) {
    freed_by_two(first != NULL);
}
static void rings(void **state) {
    (void)state;
    if (HAK_TSAN)
        skip(); /* a forked child cannot start a thread */
    unit_expect_death(by_two, NULL, BOTH);
}
/* A child does not look at the rings of threads that it has not, so this process is no child. */
static void rings_of_others(void **state) {
    (void)state;
    char text[4096];
    int status = again_said("of others", NULL, "0", 1, text, sizeof text);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT || strstr(text, BOTH) == NULL)
        fail_msg("status %#x and \"%s\"", status, text);
}

static void nothing_wrong(void *unused) {
    (void)unused;
    for (size_t size = 1; size < 3000000; size += size / 7 + 1)
        memset(hak_malloc(size), 0xff, size);
    hak_sweep_all();
}
static void silent(void **state) {
    (void)state;
    assert_string_equal(unit_stderr_of(nothing_wrong, NULL), "");
}

/* The sweep checks sampled objects in another way, so the program starts itself again without samples. */
int main(int argc, char **argv) {
    if (argc == 2) {
        freed_by_two(true);
        return 0;
    }
    if (getenv("HAKMEM_SAMPLE_RATE") == NULL && setenv("HAKMEM_SAMPLE_RATE", "0", 1) == 0)
        execv("/proc/self/exe", argv);
    const struct CMUnitTest tests[] = {
        CASE("what was written past an object is found at exit, in every class", every_class),
        CASE("so is what was written to a freed one", every_class_after_free),
        CASE("where records went with pages, freed objects are known as such", after_the_pages),
        CASE("and past large objects of all alignments, to the end of their page", large),
        CASE("wherever the slot lies in its pages", every_place),
        CASE("what two threads freed at once is found in the ring of the thread that exits", rings),
        CASE("and in the ring of a thread that has ended", rings_of_others),
        CASE("nothing is said where nothing is wrong", silent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
