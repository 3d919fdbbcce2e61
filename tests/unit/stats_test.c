/* stats_test.c: the counters of hakmem.h and the lines on stderr. */
#include "tests/unit/unit.h"

#include "allocator/api/usage.h"
#include "allocator/cache/cache.h"
#include "allocator/heap/large.h"
#include "allocator/os/os.h"
#include "allocator/policy.h"
#include "allocator/stats.h"
#include "include/hakmem.h"

#include <stdlib.h>
#include <string.h>

static void follow_use(void **state) {
    (void)state;
    hak_stats before, during, after;
    hak_free(hak_malloc(5000));
    hak_stats_read(&before);
    void *small = hak_malloc(5000), *large = hak_malloc(10 * HAK_MIB);
    hak_stats_read(&during);
    assert_true(during.live_large_bytes >= before.live_large_bytes + 10 * HAK_MIB);
    assert_true(during.live_objects >= 2);
    assert_true(during.operations > before.operations);
    assert_true(during.mapped_bytes >= during.committed_bytes &&
                during.committed_bytes > during.metadata_bytes);
    assert_true(during.committed_bytes >= during.live_slab_bytes + during.live_large_bytes);
    assert_true(during.superslabs >= 1 && during.caches == 1);
    hak_free(small);
    memset(large, 1, 10 * HAK_MIB);
    hak_free(large);
    hak_stats_read(&after);
    if (!HAK_POLICY_CLASS_BOUND) { /* otherwise a quarantine may hold it */
        assert_int_equal(after.live_large_bytes, before.live_large_bytes);
        assert_true(after.free_dirty_bytes >= 10 * HAK_MIB);
        assert_int_equal(hak_trim(0), 1);
        hak_stats_read(&after);
        assert_true(after.free_dirty_bytes == 0);
        assert_true(after.os_madvise > before.os_madvise);
    }
}

/* Objects are freed in one way: each one that leaves live_objects is one operation. */
static void operations_count_both_ways(void **state) {
    (void)state;
    enum { COUNT = 1000 };
    void *objs[COUNT];
    hak_stats before, live, after;
    hak_stats_read(&before);
    for (int i = 0; i < COUNT; i++)
        objs[i] = hak_malloc(5000);
    hak_stats_read(&live);
    if (!HAK_POLICY_CLASS_BOUND) /* otherwise a sampled object's slot goes back at once */
        assert_int_equal(live.operations - before.operations, live.live_objects - before.live_objects);
    for (int i = 0; i < COUNT; i++)
        hak_free(objs[i]);
    hak_cache_flush_all();
    hak_stats_read(&after);
    assert_true(live.live_objects - after.live_objects > COUNT / 2); /* the quarantine has some */
    assert_int_equal(after.operations - live.operations, live.live_objects - after.live_objects);
}

static void report_os(void *unused) {
    (void)unused;
    for (int i = 0; i < 5000; i++)
        if (hak_malloc(5000) == NULL) /* they stay */
            return;
    hak_os_counts.mmap = 3;
    hak_os_counts.munmap = 0;
    hak_os_counts.madvise = 2;
    hak_os_counts.mprotect = 5;
    hak_stats_report_os();
}

static void lines(void **state) {
    (void)state;
    const char *text = unit_stderr_of(report_os, NULL);
    assert_non_null(strstr(
        text, "hakmem: OS statistics: mmap 3, munmap 0, madvise 2, mprotect 5, total 10, operations "));
    static const char before_count[] = "large calls) ", before_ratio[] = "system calls per operation ";
    const char *count = strstr(text, before_count), *ratio = strstr(text, before_ratio);
    assert_true(count != NULL && ratio != NULL);
    double exact = 10 / strtod(count + strlen(before_count), NULL),
           said = strtod(ratio + strlen(before_ratio), NULL);
    assert_true(exact < 0.01 && said <= exact && said >= exact * 0.99); /* three digits, rounded down */
    assert_int_equal(text[strlen(text) - 1], '\n');
}

/* Calls of the OS, by the operations of which there were so many. */
static const struct {
    size_t calls, operations;
    const char *ratio;
} ratios[] = {{10, 9523809, " 1.05e-6\n"}, {10, 80000000, " 1.25e-7\n"}, {10, 9, " 1.11e-0\n"},
              {10, 0, " 0.00e-0\n"},       {0, 1000, " 0.00e-"},         {123, 1000, " 1.23e-1\n"}};
static void report_ratio(void *number) {
    hak_os_counts = (hak_os_counters){.mmap = ratios[*(size_t *)number].calls};
    hak_cache_operations = ratios[*(size_t *)number].operations;
    hak_large_operations = 0;
    hak_stats_report_os();
}
static void calls_per_operation(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof ratios / sizeof ratios[0]; i++) {
        const char *text = unit_stderr_of(report_ratio, &i);
        if (strstr(text, ratios[i].ratio) == NULL)
            fail_msg("%s, not%s", text, ratios[i].ratio);
    }
}

/* What was live for a while only, by a resize in place. */
static void high_water_of_realloc(void **state) {
    (void)state;
    hak_usage usage;
    void *obj = hak_malloc(HAK_MIB), *grown = hak_realloc(obj, 48 * HAK_MIB);
    assert_ptr_equal(grown, obj);
    assert_ptr_equal(hak_realloc(obj, HAK_MIB), obj);
    hak_free(obj);
    hak_usage_read(&usage);
    assert_true(usage.large_max.bytes >= 48 * HAK_MIB && usage.large.bytes == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE("the counters follow what is allocated, freed and trimmed", follow_use),
        CASE("operations are objects that go from depots to caches, and those that come home",
             operations_count_both_ways),
        CASE("the report has every count", lines),
        CASE("and their number per operation in three digits", calls_per_operation),
        CASE("what a resize in place took for a while is in the high-water mark", high_water_of_realloc),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
