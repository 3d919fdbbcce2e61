/* lost_test.c: nothing is lost where a quarantine delays frees. With the quarantine off, the memory in use returns
 * to its former number and bytes after objects were sampled, and after the OS refused at any point. */
#include "tests/unit/unit.h"

#include "allocator/cache/cache.h"
#include "allocator/heap/depot.h"
#include "allocator/heap/large.h"
#include "allocator/os/os.h"
#include "allocator/pages/superslab.h"
#include "hardening/quarantine.h"
#include "include/hakmem.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { OBJECTS = 600, K_MAX = 200 };

/* The memory in use once the thread's cache is empty. */
typedef struct in_use {
    uint64_t objects, slab_bytes, large_bytes, held;
} in_use;

static in_use look(void) {
    hak_stats now;
    hak_cache_flush_all();
    hak_depot_trim();
    hak_stats_read(&now);
    return (in_use){now.live_objects, now.live_slab_bytes, now.live_large_bytes,
                    atomic_load(&hak_quarantine_held)};
}

static void expect(in_use before) {
    in_use now = look();
    assert_int_equal(now.objects, before.objects);
    assert_int_equal(now.slab_bytes, before.slab_bytes);
    assert_int_equal(now.large_bytes, before.large_bytes);
    assert_int_equal(now.held, 0);
}

static void *objs[OBJECTS];

/* Objects of all sizes, each from a few call sites; a refused one is NULL. */
static void use(void) {
    for (size_t i = 0; i < OBJECTS; i++)
        objs[i] = i % 2 != 0 ? hak_malloc(i * i % 70000) : hak_calloc(1, i * 600);
    for (size_t i = 0; i < OBJECTS; i += 3) {
        void *moved = hak_realloc(objs[i], 1 + i * 331 % 50000);
        objs[i] = moved != NULL ? moved : objs[i];
    }
    for (size_t i = 0; i < OBJECTS; i++)
        hak_free(objs[i]);
}

static void after_use(void **state) {
    (void)state;
    hak_free(hak_malloc(1));
    in_use before = look();
    for (int round = 0; round < 3; round++) {
        use();
        expect(before);
    }
    assert_int_equal(before.objects, 0);
}

static void after_refusals(void **state) {
    (void)state;
    for (uint64_t k = 1; k < K_MAX; k += 1 + k / 8)
        for (int on = 0; on < 2; on++) {
            (void)unit_fresh(NULL);
            hak_free(hak_malloc(1));
            in_use before = look();
            (void)hak_os_fail_at(k | (on != 0 ? HAK_OS_FAIL_ON : 0));
            use();
            (void)hak_os_fail_at(0);
            expect(before);
        }
}

/* Pages in the process's address space. */
static size_t address_space(void) {
    size_t pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%zu", &pages), 1);
    fclose(file);
    return pages;
}

/* A part of what a thread needs at its start is refused. */
static void of_parts(void **state) {
    (void)state;
    uintptr_t start = hak_os_map_between(HAK_MIB);
    assert_int_not_equal(start, 0);
    hak_os_unmap_between(start, HAK_MIB);
    size_t before = address_space();
    for (uint64_t k = 1; k <= 300; k++) {
        (void)hak_os_fail_at((1 + k % 3) | (k % 2 != 0 ? HAK_OS_FAIL_ON : 0));
        start = hak_os_map_between(HAK_MIB);
        (void)hak_os_fail_at(0);
        if (start != 0)
            hak_os_unmap_between(start, HAK_MIB);
    }
    assert_int_equal(address_space(), before);
}

/* Sampled objects stand for slots, which go home at once. The program starts itself again, first with everything
 * sampled, then with nothing. */
int main(int argc, char **argv) {
    if (argc > 1)
        return 2;
    if (getenv("HAKMEM_HARDENING") == NULL && setenv("HAKMEM_HARDENING", "quarantine:off", 1) == 0 &&
        setenv("HAKMEM_SAMPLE_RATE", "1", 1) == 0)
        execv("/proc/self/exe", argv);
    const struct CMUnitTest tests[] = {
        CASE("nothing is in use after everything was freed, sampled or not", after_use),
        CASE("nor after the OS has refused the k-th call, for many k, alone or with all that follow",
             after_refusals),
        CASE("what is refused in part costs no address space", of_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
