/* superslab_back_test.c: memory of superslabs goes back to the OS: purges, tails, and pages that are not huge. */
#include "tests/unit/slabs.h"

#include "allocator/os/os.h"
#include "allocator/os/os_process.h"
#include "allocator/pages/release.h"
#include "allocator/policy.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* A superslab that comes whole has its tail mapped at first. */
static void tails_go(void **state) {
    (void)state;
    hak_slab *slabs[12];
    unsigned count = slabs_take(slabs, 12, slab_wide_class());
    if (hak_region_find(slabs[0]->start)->body.reserved)
        skip();
    size_t memory = (size_t)__builtin_popcount(hak_slab_memory(slabs[11])) * HAK_GRANULE;
    assert_int_equal(slab_mapped_bytes(slabs[11]), HAK_SUPERSLAB);
    assert_true(hak_superslab_cut_tails() >= HAK_SUPERSLAB - memory);
    hak_superslab_check();
    assert_int_equal(hak_superslab_cut_tails(), 0);
    assert_int_equal(slab_mapped_bytes(slabs[11]), memory);
    for (int life = 0; life < 3; life++) {
        for (unsigned i = 0; i < count; i++) {
            slab_touch(slabs[i], 2);
            hak_superslab_give_slab(slabs[i]);
            hak_superslab_check();
        }
        if (life != 0)
            assert_true(hak_superslab_hollow() != 0);
        count = slabs_take(slabs, 12, life == 1 ? slab_class_with(4) : slab_wide_class());
        hak_superslab_check();
        (void)hak_superslab_cut_tails();
        hak_superslab_check();
    }
    for (unsigned i = 0; i < count; i++)
        hak_superslab_give_slab(slabs[i]);
    hak_superslab_check();
    assert_int_equal(hak_superslab_live_bytes, 0);
}

static void purged(void **state) {
    (void)state;
    hak_release_init(true, HAK_DECOMMIT_OFF, 0);
    unsigned cls = slab_class_with(4);
    hak_slab *slabs[16];
    (void)hak_superslab_take_slab(cls, 0); /* only a part of the first slab may be mapped */
    for (int i = 0; i < 16; i++) {
        slabs[i] = hak_superslab_take_slab(cls, 0);
        slab_touch(slabs[i], 0x5a);
    }
    for (int i = 0; i < 16; i++)
        hak_superslab_give_slab(slabs[i]);
    assert_int_equal(hak_superslab_free_dirty, 64 * HAK_GRANULE);
    assert_int_equal(hak_superslab_purge(64 * HAK_GRANULE), 0);
    assert_true(hak_superslab_purge(32 * HAK_GRANULE) >= 32 * HAK_GRANULE);
    hak_superslab_check();
    (void)hak_superslab_purge(0);
    hak_superslab_check();
    assert_int_equal(hak_superslab_free_dirty, 0);
    for (int i = 0; i < 16; i++)
        assert_int_equal(*(char *)slabs[i]->start, 0); /* a purged page reads as zero */
}

/* One granule in eight is resident: a slab of eight granules brings seven fresh ones, and twice as many are purged
 * elsewhere. */
static void resident_in_part(void **state) {
    enum { ONES = 2048, EIGHTS = 16 };
    static hak_slab *ones[ONES], *eights[EIGHTS];
    (void)state;
    if (HAK_POLICY_CLASS_BOUND)
        skip(); /* slabs are resident as a whole or not at all */
    hak_release_init(true, HAK_DECOMMIT_OFF, 0);
    (void)hak_superslab_purge(0);
    unsigned one = slab_class_with(1), eight = slab_class_with(8);
    for (int i = 0; i < ONES; i++)
        ones[i] = hak_superslab_take_slab(one, 0);
    for (int i = 0; i < ONES; i++)
        if (ones[i]->start / HAK_GRANULE % 8 != 0)
            hak_superslab_give_slab(ones[i]), ones[i] = NULL;
    (void)hak_superslab_purge(0);
    for (int i = 0; i < ONES; i++)
        if (ones[i] != NULL)
            hak_superslab_give_slab(ones[i]);
    assert_true(hak_superslab_free_dirty >= 2 * hak_release_slab_keep() - HAK_MIB);
    for (int i = 0; i < EIGHTS; i++)
        eights[i] = hak_superslab_take_slab(eight, 0);
    assert_in_range(hak_superslab_free_dirty, 0, hak_release_slab_keep());
    hak_superslab_check();
    for (int i = 0; i < EIGHTS; i++)
        hak_superslab_give_slab(eights[i]);
    (void)hak_superslab_purge(0);
}

/* Free slabs that stay with their class: a purge takes the pages of the slab that was freed first, and a slab with
 * pages is taken before one without. */
static void bound_slabs(void **state) {
    (void)state;
    if (!HAK_POLICY_CLASS_BOUND) { /* no slab stays with its class there */
        skip();
    }
    enum { BOUND = 4 };
    hak_slab *slabs[BOUND];
    unsigned cls = slab_class_with(1);
    for (int i = 0; i < BOUND; i++) {
        slabs[i] = hak_superslab_take_slab(cls, 0);
        *(volatile char *)slabs[i]->start = 'x';
    }
    for (int i = 0; i < BOUND; i++)
        hak_superslab_give_slab(slabs[i]);
    assert_int_equal(hak_superslab_free_dirty, BOUND * HAK_GRANULE);
    assert_int_equal(hak_superslab_purge((BOUND - 1) * HAK_GRANULE), HAK_GRANULE);
    assert_int_equal(hak_superslab_free_dirty, (BOUND - 1) * HAK_GRANULE);
    for (int i = 0; i < BOUND; i++)
        assert_int_equal(*(volatile char *)slabs[i]->start, i == 0 ? 0 : 'x');
    for (int i = 1; i < BOUND; i++)
        assert_ptr_not_equal(hak_superslab_take_slab(cls, 0), slabs[0]);
    assert_ptr_equal(hak_superslab_take_slab(cls, 0), slabs[0]);
    assert_int_equal(hak_superslab_free_dirty, 0);
}

/* A heap that goes on to another class keeps little memory of the class that it leaves, because no other class can
 * use it. */
static void bound_exchanged(void **state) {
    (void)state;
    if (!HAK_POLICY_CLASS_BOUND)
        skip(); /* the second class takes the slabs of the first there */
    enum { LEFT = 320, TAKEN = 200 };
    static hak_slab *slabs[LEFT];
    hak_release_init(true, HAK_DECOMMIT_OFF, 0);
    unsigned before = slab_class_with(1), after = slab_class_with(2);
    for (int i = 0; i < LEFT; i++)
        slabs[i] = hak_superslab_take_slab(before, 0);
    for (int i = 0; i < LEFT; i++)
        hak_superslab_give_slab(slabs[i]);
    assert_int_equal(hak_superslab_free_dirty, LEFT * HAK_GRANULE);
    for (int i = 0; i < TAKEN; i++)
        slabs[i] = hak_superslab_take_slab(after, 0);
    size_t live = 2 * (size_t)TAKEN * HAK_GRANULE;
    assert_int_equal(hak_superslab_live_bytes, live);
    assert_in_range(hak_superslab_free_dirty, 2 * HAK_MIB - 4 * HAK_GRANULE, hak_max(2 * HAK_MIB, live / 32));
    hak_superslab_check();
    for (int i = 0; i < TAKEN; i++)
        hak_superslab_give_slab(slabs[i]);
    (void)hak_superslab_purge(0);
}

/* True when the kernel was told to use huge pages (hg), or none (nh), for the mapping around `addr`. */
static bool is_told(uintptr_t addr, const char *flag) {
    static char line[4096];
    uintptr_t from = 0, to = 0;
    bool told = false, any = false;
    FILE *maps = fopen("/proc/self/smaps", "r");
    assert_non_null(maps);
    while (fgets(line, sizeof line, maps) != NULL) {
        uintptr_t first, last;
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &first, &last) == 2)
            from = first, to = last;
        if (addr - from >= to - from || strncmp(line, "VmFlags:", 8) != 0)
            continue;
        any = true;
        told = strstr(line, flag) != NULL;
    }
    fclose(maps);
    assert_true(any);
    return told;
}

/* Huge pages are on. The first slab of wide slots has none, because it may have one object for long. The second has
 * them, and so have the slabs that take the place of the first one later. */
static void sparse_has_small_pages(void **state) {
    enum { DENSE = 640 };
    (void)state;
    size_t from = hak_region_huge_from;
    hak_region_huge_from = 4 * HAK_MIB;
    hak_release_init(true, HAK_DECOMMIT_OFF, 0);
    hak_slab *last = NULL, *wide[3];
    for (int i = 0; i < DENSE; i++) {
        last = hak_superslab_take_slab(slab_class_with(1), 0);
        slab_touch(last, 'x');
    }
    bool has_huge = is_told(last->start, " hg");
    for (int i = 0; i < 3; i++)
        wide[i] = hak_superslab_take_slab(slab_class_with(HAK_SUPERSLAB_GRANULES), i == 2);
    if (has_huge) { /* otherwise this kernel, or this build, has none */
        assert_true(is_told(wide[0]->start, " nh"));
        assert_true(is_told(wide[1]->start, " hg"));
        assert_true(is_told(wide[2]->start, " nh")); /* of another shard */
    }
    uintptr_t start = wide[0]->start;
    hak_superslab_give_slab(wide[0]);
    (void)hak_superslab_purge(0);
    if (has_huge && !HAK_POLICY_CLASS_BOUND) {
        for (int i = 0; i < DENSE && last->start / HAK_SUPERSLAB != start / HAK_SUPERSLAB; i++)
            last = hak_superslab_take_slab(slab_class_with(1), 0);
        assert_true(is_told(start, " hg"));
    }
    hak_superslab_check();
    hak_region_huge_from = from;
    if (!has_huge)
        skip();
}

static void refused_purge(void **state) {
    (void)state;
    hak_slab *slab = hak_superslab_take_slab(slab_class_with(4), 0);
    hak_superslab_give_slab(slab);
    size_t dirty = hak_superslab_free_dirty;
    (void)hak_os_fail_at(1);
    assert_int_equal(hak_superslab_purge(0), 0);
    (void)hak_os_fail_at(0);
    assert_int_equal(hak_superslab_free_dirty, dirty);
    hak_superslab_check();
    assert_int_equal(hak_superslab_purge(0), dirty);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE("what no slot of a slab in use has goes when memory is short", tails_go),
        CASE("a purge gives free pages back until so many are left", purged),
        CASE("a slab that is resident in part is exchanged by what is fresh of it", resident_in_part),
        CASE("of free slabs that stay with their class the oldest is purged first and taken last",
             bound_slabs),
        CASE("free slabs that stay with their class go as another class takes fresh ones", bound_exchanged),
        CASE("a slab that may stay mostly empty has no huge page", sparse_has_small_pages),
        CASE("a purge that the OS refuses changes nothing", refused_purge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
