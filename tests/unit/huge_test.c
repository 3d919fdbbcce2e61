/* huge_test.c: an object of gigabytes costs only its touched pages. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "allocator/base/bits.h"
#include "allocator/os/extent.h"
#include "include/hakmem.h"

enum {
    ROUNDS = 4,
    SAMPLES = 512, /* pages of a huge object that a test reads: 2 MiB of page tables at most, for a while */
    OTHERS = 64,
    MOST_KIB =
        4096, /* markers in the page tables of 8 GiB would take 16 MiB; a record for each granule, 2 MiB a round */
};

/* A line of /proc/self/status, in KiB. */
static size_t status_of(const char *name) {
    char line[128];
    size_t kib = 0;
    FILE *file = fopen("/proc/self/status", "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, name, strlen(name)) == 0)
            (void)sscanf(line + strlen(name), ": %zu", &kib);
    fclose(file);
    return kib;
}

/* A third of the machine's memory: no kernel refuses that, and it has many times the pages that the test allows. */
static size_t huge_size(void) {
    return (size_t)sysconf(_SC_PHYS_PAGES) / 3 * (size_t)sysconf(_SC_PAGESIZE);
}

static void touch(char *obj, size_t size) {
    assert_non_null(obj);
    obj[0] = obj[size / 2] = obj[size - 1] = 1;
}

/* Makes objects of that size by every call, touches a few pages of each, and frees them. */
static void use(size_t size) {
    char *obj = hak_malloc(size);
    touch(obj, size);
    obj = hak_realloc(obj, size / 2);
    touch(obj, size / 2);
    hak_free(obj);
    obj = hak_calloc(1, size);
    assert_non_null(obj);
    for (size_t at = 0; at < size; at += size / SAMPLES)
        assert_int_equal(obj[at], 0);
    hak_free(obj);
}

static void sparse(void **state) {
    (void)state;
    uintptr_t place = hak_extent_claim(HAK_MIB, HAK_MIB);
    if (HAK_TSAN || place == 0) { /* a sanitizer's notes of each access count, too, and so does its shadow */
        skip();
    }
    hak_extent_unclaim(place);
    size_t size = huge_size();
    use(size / 64); /* memory that comes with the first object of any size */
    size_t resident = status_of("RssAnon"), tables = status_of("VmPTE");
    for (int i = 0; i < ROUNDS; i++)
        use(size);
    (void)hak_trim(0);
    assert_in_range(status_of("RssAnon"), 0, resident + MOST_KIB);
    assert_in_range(status_of("VmPTE"), 0, tables + MOST_KIB);
}

/* Objects lay there before and were written to: a huge object has none of their contents and none of their records. */
static void over_others(void **state) {
    (void)state;
    char *others[OTHERS];
    for (int i = 0; i < OTHERS; i++) {
        others[i] = hak_malloc(HAK_MIB);
        assert_non_null(others[i]);
        memset(others[i], 1, HAK_MIB);
    }
    for (int i = 0; i < OTHERS; i++)
        hak_free(others[i]);
    (void)hak_trim(0);
    use(OTHERS * HAK_MIB / 2);
    use(OTHERS * HAK_MIB * 4);
    for (int i = 0; i < OTHERS; i++) {
        others[i] = hak_calloc(1, HAK_MIB);
        assert_non_null(others[i]);
        for (size_t at = 0; at < HAK_MIB; at += 4096)
            assert_int_equal(others[i][at], 0);
    }
    for (int i = 0; i < OTHERS; i++)
        hak_free(others[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE("a huge object costs what is touched of it", sparse),
        CASE("nothing is left of what lay where a huge object lies", over_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
