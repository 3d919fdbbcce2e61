/* extent_test.c: pieces of address space that grow in place; nothing is reserved for them. */
#include "tests/unit/unit.h"

#include "allocator/base/bits.h"
#include "allocator/os/extent.h"
#include "allocator/os/os.h"
#include "allocator/os/os_keep.h"

#include <string.h>
#include <sys/mman.h>

enum { EXTENTS = 64, MANY = 5000 };

static bool is_mapped(uintptr_t addr) {
    unsigned char resident;
    return mincore((void *)addr, hak_os_page, &resident) == 0;
}

static void grows(void **state) {
    (void)state;
    hak_extent extent;
    assert_true(hak_extent_begin(&extent, 64 * HAK_MIB, HAK_MIB, HAK_MIB));
    assert_int_equal(extent.start % HAK_MIB, 0);
    memset((void *)extent.start, 1, HAK_MIB);
    assert_true(hak_extent_grow(&extent, 3 * HAK_MIB));
    assert_int_equal(extent.mapped, 3 * HAK_MIB);
    memset((void *)(extent.start + HAK_MIB), 2, 2 * HAK_MIB);
    assert_int_equal(*(char *)extent.start, 1);
    assert_false(hak_extent_grow(&extent, extent.room + HAK_MIB));
    uintptr_t start = extent.start;
    hak_extent_end(&extent);
    assert_false(is_mapped(start));
}

/* A piece gets as much of its wish as the address space has; none of it is mapped. */
static void more_than_there_is(void **state) {
    (void)state;
    unit_skip_where_reserved();
    hak_extent extents[3];
    for (int i = 0; i < 3; i++) {
        assert_true(hak_extent_begin(&extents[i], (size_t)1 << 60, 0, HAK_MIB));
        assert_false(extents[i].reserved);
        assert_true(extents[i].room >= (size_t)1 << 30);
        assert_false(is_mapped(extents[i].start) || is_mapped(extents[i].start + extents[i].room / 2));
        assert_false(is_mapped(extents[i].start + extents[i].room - hak_os_page)); /* it was tried */
    }
    for (int i = 0; i < 3; i++)
        hak_extent_end(&extents[i]);
}

static void apart(void **state) {
    (void)state;
    hak_extent extents[EXTENTS];
    for (int i = 0; i < EXTENTS; i++) {
        assert_true(hak_extent_begin(&extents[i], 64 * HAK_MIB, i % 2 == 0 ? hak_os_page : 0, hak_os_page));
        for (int j = 0; j < i; j++)
            assert_true(extents[j].start + extents[j].room <= extents[i].start ||
                        extents[i].start + extents[i].room <= extents[j].start);
    }
    for (int i = 0; i < EXTENTS; i++)
        hak_extent_end(&extents[i]);
}

/* The table of all pieces doubles; the smaller ones go. In the first of all cases that need many. */
static void many_leave_one_table(void **state) {
    (void)state;
    enum { ENTRY = 16, TABLE = 8192 * ENTRY }; /* the first power of two above MANY */
    unit_skip_where_reserved();
    static hak_extent small[MANY];
    size_t before = unit_address_space();
    for (int i = 0; i < MANY; i++)
        assert_true(hak_extent_begin(&small[i], HAK_MIB, 0, hak_os_page));
    for (int i = 0; i < MANY; i++)
        hak_extent_end(&small[i]);
    assert_in_range(unit_address_space() - before, TABLE, TABLE + TABLE / 4);
}

/* Many small pieces lie scattered over the address space, with room between them. */
static void among_many(void **state) {
    (void)state;
    unit_skip_where_reserved();
    static hak_extent small[MANY];
    for (int i = 0; i < MANY; i++)
        assert_true(hak_extent_begin(&small[i], HAK_MIB, 0, hak_os_page));
    for (int i = 0; i < EXTENTS / 8; i++) {
        hak_extent large;
        assert_true(hak_extent_begin(&large, (size_t)1 << 60, HAK_MIB, HAK_MIB));
        assert_false(large.reserved);
        assert_true(large.room >= (size_t)1 << 30);
        hak_extent_end(&large);
    }
    for (int i = 0; i < MANY; i++)
        hak_extent_end(&small[i]);
}

static void somebody_else(void **state) {
    (void)state;
    unit_skip_where_reserved();
    hak_extent extent;
    assert_true(hak_extent_begin(&extent, 64 * HAK_MIB, HAK_MIB, HAK_MIB));
    char *theirs = mmap((void *)(extent.start + 8 * HAK_MIB), hak_os_page, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    assert_int_equal((uintptr_t)theirs, extent.start + 8 * HAK_MIB);
    *theirs = 'x';
    assert_true(hak_extent_grow(&extent, 8 * HAK_MIB));
    assert_false(hak_extent_grow(&extent, 9 * HAK_MIB));
    assert_true(extent.mapped == 8 * HAK_MIB && extent.room == 8 * HAK_MIB);
    assert_int_equal(*theirs, 'x');
    assert_true(hak_extent_hollow(&extent, extent.start + HAK_MIB, HAK_MIB));
    assert_int_equal(hak_extent_fill(&extent, extent.start + HAK_MIB, HAK_MIB), HAK_MAP_DONE);
    assert_int_equal(hak_extent_fill(&extent, (uintptr_t)theirs, hak_os_page), HAK_MAP_TAKEN);
    hak_extent_end(&extent);
    assert_int_equal(*theirs, 'x');
    munmap(theirs, hak_os_page);
}

/* Places are drawn, and the same seed draws the same ones. */
static void place_is_taken(void **state) {
    (void)state;
    unit_skip_where_reserved();
    hak_extent extent;
    hak_os_random_fix(7);
    assert_true(hak_extent_begin(&extent, 64 * HAK_MIB, HAK_MIB, HAK_MIB));
    uintptr_t start = extent.start;
    hak_extent_end(&extent);
    char *theirs = mmap((void *)start, hak_os_page, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    assert_int_equal((uintptr_t)theirs, start);
    hak_os_random_fix(7);
    assert_true(hak_extent_begin(&extent, 64 * HAK_MIB, HAK_MIB, HAK_MIB));
    assert_false(extent.reserved);
    assert_int_not_equal(extent.start, start);
    hak_os_random_fix(0);
    hak_extent_end(&extent);
    munmap(theirs, hak_os_page);
}

/* When the OS has no memory now, it may have some later. */
static void refused_once(void **state) {
    (void)state;
    hak_extent extent;
    assert_true(hak_extent_begin(&extent, 64 * HAK_MIB, HAK_MIB, HAK_MIB));
    (void)hak_os_fail_at(1);
    assert_false(hak_extent_grow(&extent, 2 * HAK_MIB));
    assert_int_equal(hak_os_fail_at(0), 1);
    assert_true(extent.mapped == HAK_MIB && extent.room == 64 * HAK_MIB);
    assert_true(hak_extent_grow(&extent, 2 * HAK_MIB));
    hak_extent_end(&extent);
}

/* An extent that did not get as far ends without what others have mapped in its room. */
static void ends_before_others(void **state) {
    (void)state;
    unit_skip_where_reserved();
    hak_extent extent;
    assert_true(hak_extent_begin(&extent, 64 * HAK_MIB, HAK_MIB, HAK_MIB));
    uintptr_t start = extent.start;
    char *theirs = mmap((void *)(start + 8 * HAK_MIB), hak_os_page, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    assert_int_equal((uintptr_t)theirs, start + 8 * HAK_MIB);
    hak_extent_end(&extent);
    assert_false(is_mapped(start));
    assert_true(is_mapped((uintptr_t)theirs));
    munmap(theirs, hak_os_page);
}

/* What debug builds keep for the next input lies beyond what an extent counts as mapped. */
static void ends_with_what_is_kept(void **state) {
    (void)state;
    unit_skip_where_reserved();
    hak_extent extent;
    hak_os_keep(HAK_KEEP_ALL);
    assert_true(hak_extent_begin(&extent, 64 * HAK_MIB, 2 * HAK_MIB, HAK_MIB));
    uintptr_t start = extent.start;
    assert_true(hak_extent_hollow(&extent, start + HAK_MIB, HAK_MIB));
    extent.mapped = HAK_MIB;
    assert_true(is_mapped(start + HAK_MIB)); /* kept */
    hak_extent_end(&extent);
    assert_false(is_mapped(start));
    assert_false(is_mapped(start + HAK_MIB));
    hak_os_keep(HAK_KEEP_NOTHING);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE("an extent grows where it is, up to its room", grows),
        CASE("of more room than there is, a part is had and nothing is reserved", more_than_there_is),
        CASE("the rooms of two extents do not overlap", apart),
        CASE("thousands of extents leave one table of them", many_leave_one_table),
        CASE("room is found among thousands of extents", among_many),
        CASE("where a place is taken, another one is drawn", place_is_taken),
        CASE("an extent that was refused memory grows later", refused_once),
        CASE("where somebody else has mapped, an extent does not grow any more", somebody_else),
        CASE("and an extent ends before it", ends_before_others),
        CASE("an extent ends with what is kept of it", ends_with_what_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
