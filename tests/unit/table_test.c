/* table_test.c: tables of which only the part in use is mapped. */
#include "tests/unit/unit.h"

#include "allocator/base/bits.h"
#include "allocator/os/os.h"
#include "allocator/os/os_process.h"
#include "allocator/pages/region.h"

#include <string.h>

enum { SIZE = 192, MOST = 1000 };

static bool is_mapped(const hak_extent *table, size_t at) {
    return hak_os_is_mapped(table->start + hak_align_down(at, hak_os_page), hak_os_page);
}

static void what_is_reached(void **state) {
    (void)state;
    hak_extent table = {0};
    uintptr_t start = 0;
    for (unsigned count = 1; count <= MOST; count++) {
        assert_true(hak_region_reach(&table, SIZE, MOST, count));
        assert_true(start == 0 || table.start == start); /* the table does not move */
        start = table.start;
        char *entry = (char *)start + (size_t)(count - 1) * SIZE;
        for (size_t i = 0; i < SIZE; i++)
            assert_int_equal(entry[i], 0);
        memset(entry, 1, SIZE);
        if (!table.reserved) /* under a sanitizer the room is a mapping */
            assert_true(!is_mapped(&table, hak_align_up((size_t)count * SIZE, hak_os_page)));
    }
    assert_true(hak_region_reach(&table, SIZE, MOST, 1)); /* the part that was reached stays */
    assert_int_equal(*(char *)(start + (MOST - 1) * SIZE), 1);
    assert_false(hak_region_reach(&table, SIZE, MOST, 2 * MOST));
}

/* A refusal changes nothing; the table can grow later. */
static void refused(void **state) {
    (void)state;
    hak_extent table = {0};
    const hak_extent none = table;
    unsigned refusals = 0;
    for (uint64_t k = 1; table.start == 0;
         k++) { /* all calls from call k on fail; a sanitizer needs several */
        (void)hak_os_fail_at(k | HAK_OS_FAIL_ON);
        bool done = hak_region_reach(&table, SIZE, MOST, 1);
        (void)hak_os_fail_at(0);
        assert_true(done || memcmp(&table, &none, sizeof table) == 0);
        refusals += !done;
    }
    assert_int_not_equal(refusals, 0);
    hak_extent before = table;
    (void)hak_os_fail_at(1 | HAK_OS_FAIL_ON);
    assert_false(hak_region_reach(&table, SIZE, MOST, MOST));
    (void)hak_os_fail_at(0);
    assert_memory_equal(&table, &before, sizeof table);
    assert_true(hak_region_reach(&table, SIZE, MOST, MOST));
    assert_int_equal(table.start, before.start);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE("of a table is mapped what is in use, and it does not move", what_is_reached),
        CASE("where the OS refuses more of a table nothing has changed", refused),
    };
    return cmocka_run_group_tests_name("table", tests, NULL, NULL);
}
