/* release_test.c: what each policy keeps resident, as tables of policy, memory and result. */
#include "tests/unit/unit.h"

#include "allocator/os/os.h"
#include "allocator/pages/mapped_limit.h"
#include "allocator/pages/release.h"
#include "allocator/pages/superslab.h"
#include "allocator/policy.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

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
        {true, HAK_DECOMMIT_DONTNEED, 10, 4, 2, 4, 2, 2},        /* and both together */
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
    /* MiB */
    static const struct {
        size_t live, freed, most;
    } rows[] = {{0, 1, 64}, {1000, 1, 500}, {0, 8, 32}, {400, 50, 32}, {1600, 50, 100}};
    hak_release_init(false, HAK_DECOMMIT_OFF, 0);
    assert_int_equal(hak_release_large_most(HAK_MIB), SIZE_MAX);
    uint64_t closed = hak_release_unused_ms();
    hak_release_init(true, HAK_DECOMMIT_OFF, 0);
    assert_int_equal(closed, 10 * hak_release_unused_ms());
    assert_true(hak_release_unused_ms() < hak_release_idle_ms());
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        set(0, 0, rows[i].live, 0);
        if (hak_release_large_most(rows[i].freed * HAK_MIB) != rows[i].most * HAK_MIB)
            fail_msg("row %zu: most %zu", i, hak_release_large_most(rows[i].freed * HAK_MIB));
    }
    set(0, 0, 0, 0);
    set(400, 100, 0, 0);
    assert_int_equal(hak_release_slab_keep(), HAK_POLICY_CLASS_BOUND ? 12800 * HAK_KIB : 100 * HAK_MIB);
    set(1, 100, 0, 0);
    assert_int_equal(hak_release_slab_keep(), (HAK_POLICY_CLASS_BOUND ? 2 : 8) * HAK_MIB);
    set(0, 0, 0, 0);
}

/* Missed memory may stay from then on, and as long as it is needed. */
static void allowance(void **state) {
    (void)state;
    hak_release_init(true, HAK_DECOMMIT_OFF, 0);
    size_t most = hak_release_large_most(1);
    hak_release_large_missed(HAK_MIB); /* nothing was given back */
    assert_int_equal(hak_release_large_most(1), most);
    hak_release_large_given(10 * HAK_MIB);
    hak_release_large_missed(4 * HAK_MIB);
    hak_release_large_missed(40 * HAK_MIB);
    assert_int_equal(hak_release_large_most(1), most + 10 * HAK_MIB);
    hak_release_large_decay(most + 10 * HAK_MIB); /* as much as was free and in use */
    assert_int_equal(hak_release_large_most(1), most + 10 * HAK_MIB);
    hak_release_large_decay(0);
    assert_int_equal(hak_release_large_most(1), most + 5 * HAK_MIB);
    hak_release_large_given(10 * HAK_MIB);
    hak_release_large_decay(0); /* a period later it was not missed */
    hak_release_large_missed(10 * HAK_MIB);
    assert_int_equal(hak_release_large_most(1), most + 5 * HAK_MIB / 2);
}

/* Of what was missed no more than a quarter of what is live, beside the share. */
static void allowance_within_a_limit(void **state) {
    (void)state;
    hak_release_init(true, HAK_DECOMMIT_OFF, 0);
    hak_release_large_given(300 * HAK_MIB);
    hak_release_large_missed(300 * HAK_MIB);
    set(0, 0, 400, 0);
    (void)hak_limit_set(640 * HAK_MIB);
    assert_int_equal(hak_release_large_most(1), (25 + 100) * HAK_MIB);
    set(0, 0, 1600, 0);
    assert_int_equal(hak_release_large_most(1), (100 + 300) * HAK_MIB);
    (void)hak_limit_set(SIZE_MAX);
    set(0, 0, 0, 0);
}

/* Replaces libc's madvise and records the kernel's last advice. With MADV_FREE contents stay until the kernel needs
 * the pages. */
static int advised;
int madvise(void *addr, size_t size, int advice) {
    advised = advice;
    return (int)syscall(SYS_madvise, addr, size, advice);
}

static void how(void **state) {
    (void)state;
    static const struct {
        hak_decommit decommit;
        bool zeroes;
        int advice;
    } rows[] = {{HAK_DECOMMIT_OFF, true, MADV_DONTNEED},
                {HAK_DECOMMIT_FREE, false, MADV_FREE},
                {HAK_DECOMMIT_DONTNEED, true, MADV_DONTNEED}};
    for (size_t i = 0; i < 3; i++) {
        hak_release_init(true, rows[i].decommit, 0);
        assert_int_equal(hak_release_zeroes(), rows[i].zeroes);
        uintptr_t addr = hak_os_reserve(HAK_MIB, hak_os_page, 0);
        assert_true(hak_os_commit(addr, HAK_MIB));
        memset((void *)addr, 1, HAK_MIB);
        size_t calls = atomic_load(&hak_os_counts.madvise);
        assert_true(hak_release_range(addr, HAK_MIB));
        if (rows[i].zeroes)
            assert_int_equal(*(char *)addr, 0);
        assert_int_equal(atomic_load(&hak_os_counts.madvise), calls + 1);
        assert_int_equal(advised, rows[i].advice);
        hak_os_unmap(addr, HAK_MIB);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE("the excess over the target is what the table says", excess),
        CASE("free memory has bounds that grow with what is live; in the speed profile large memory "
             "waits for the "
             "clock",
             bounds),
        CASE("what was given back and missed may stay while it is needed", allowance),
        CASE("but little of it under a limit", allowance_within_a_limit),
        CASE("a range given back reads as zero where the policy says so", how),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
