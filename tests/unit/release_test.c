/* release_test.c: what each policy lets stay resident: tables of policy, memory and verdict. */
#include "tests/unit/unit.h"

#include "allocator/os.h"
#include "allocator/release.h"
#include "allocator/superslab.h"

#include <string.h>

static void set(size_t slab_live, size_t slab_dirty, size_t large_live, size_t large_dirty) {
    hak_superslab_live_bytes = slab_live * HAK_MIB;
    hak_superslab_free_dirty = slab_dirty * HAK_MIB;
    hak_release_large_live = large_live * HAK_MIB;
    hak_release_large_dirty = large_dirty * HAK_MIB;
}

static void excess(void **state) {
    (void)state;
    /* MiB */
    static const struct {
        bool lean;
        hak_decommit decommit;
        size_t target, slab_live, slab_dirty, large_live, large_dirty, excess;
    } rows[] = {
        {true, HAK_DECOMMIT_OFF, 10, 100, 100, 100, 100, 0},     /* keeps */
        {false, HAK_DECOMMIT_DONTNEED, 10, 0, 100, 0, 0, 0},     /* the gate is closed */
        {true, HAK_DECOMMIT_DONTNEED, 10, 5, 4, 0, 0, 0},        /* below the target */
        {true, HAK_DECOMMIT_DONTNEED, 10, 5, 5, 0, 0, 0},        /* at it */
        {true, HAK_DECOMMIT_DONTNEED, 10, 8, 4, 0, 0, 2},        /* above: by 2 */
        {true, HAK_DECOMMIT_FREE, 10, 8, 4, 0, 0, 2},            /* the same for FREE */
        {true, HAK_DECOMMIT_DONTNEED, 10, 0, 0, 8, 4, 2},        /* large memory counts as well */
        {true, HAK_DECOMMIT_DONTNEED, 10, 4, 2, 4, 2, 2},        /* and together */
        {true, HAK_DECOMMIT_DONTNEED, 10, 100, 3, 0, 0, 3},      /* never more than is free */
        {true, HAK_DECOMMIT_DONTNEED, 10, 100, 1, 0, 0, 0},      /* a step is an eighth of the target */
        {true, HAK_DECOMMIT_DONTNEED, 0, 0, 1, 0, 0, 1},         /* no target: everything */
        {true, HAK_DECOMMIT_DONTNEED, 1 << 20, 9, 900, 9, 9, 0}, /* a target that nothing reaches */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        hak_release_init(rows[i].lean, rows[i].decommit, rows[i].target * HAK_MIB);
        set(rows[i].slab_live, rows[i].slab_dirty, rows[i].large_live, rows[i].large_dirty);
        if (hak_release_excess() != rows[i].excess * HAK_MIB)
            fail_msg("row %zu: excess %zu", i, hak_release_excess());
    }
    set(0, 0, 0, 0);
}

static void bounds(void **state) {
    (void)state;
    hak_release_init(false, HAK_DECOMMIT_OFF, 0);
    hak_release_bounds speed = hak_release_large_bounds();
    assert_int_equal(speed.most, SIZE_MAX);
    assert_int_equal(speed.wanted, SIZE_MAX);
    assert_int_equal(speed.idle_ms, UINT64_MAX);
    assert_int_equal(speed.unused_ms, UINT64_MAX);
    hak_release_init(true, HAK_DECOMMIT_OFF, 0);
    hak_release_bounds small = hak_release_large_bounds();
    assert_true(small.wanted < small.most && small.most < (size_t)1 << 30);
    assert_true(small.unused_ms < small.idle_ms && small.idle_ms <= 60000);
    set(0, 0, 1000, 0);
    hak_release_bounds large = hak_release_large_bounds();
    assert_true(large.wanted >= (size_t)1000 * HAK_MIB && large.most > large.wanted);
    set(0, 0, 0, 0);
}

static void how(void **state) {
    (void)state;
    static const struct {
        hak_decommit decommit;
        bool zeroes;
    } rows[] = {{HAK_DECOMMIT_OFF, true}, {HAK_DECOMMIT_FREE, false}, {HAK_DECOMMIT_DONTNEED, true}};
    for (size_t i = 0; i < 3; i++) {
        hak_release_init(true, rows[i].decommit, 0);
        assert_int_equal(hak_release_zeroes(), rows[i].zeroes);
        uintptr_t addr = hak_os_reserve(HAK_MIB, hak_os_page, 0);
        assert_true(hak_os_commit(addr, HAK_MIB));
        memset((void *)addr, 1, HAK_MIB);
        assert_true(hak_release_range(addr, HAK_MIB));
        if (rows[i].zeroes)
            assert_int_equal(*(char *)addr, 0);
        hak_os_unmap(addr, HAK_MIB);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SENTENCE("the excess over the target is what the table says", excess),
        SENTENCE("large memory has no bound in the speed profile, and one that grows with what is live in "
                 "the other",
                 bounds),
        SENTENCE("a range given back reads as zero where the policy says so", how),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
