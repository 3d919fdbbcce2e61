/* size_class_test.c: the tables of size_class.h, entry by entry, for no guard and for a guard at the end of each
 * slab. */
#include "tests/unit/unit.h"

#include "allocator/os/os.h"
#include "allocator/pages/size_class.h"

static const size_t guards[] = {0, 16, 4096};

/* Runs the test with each guard, and puts the variant's own tables back. */
static void for_each_guard(void (*test)(size_t guard)) {
    static hak_class_info saved[HAK_TAGS];
    for (unsigned cls = 0; cls < HAK_TAGS; cls++)
        saved[cls] = hak_classes[cls];
    for (size_t i = 0; i < sizeof guards / sizeof guards[0]; i++) {
        hak_size_class_init(guards[i]);
        test(guards[i]);
    }
    for (unsigned cls = 0; cls < HAK_TAGS; cls++)
        hak_classes[cls] = saved[cls];
}

/* The smallest class that holds the size; a half only where its class is split. */
static void expect_classes(const bool split[HAK_TAGS]) {
    unsigned cls = 1;
    for (size_t size = 0; size <= HAK_SLAB_SIZE_MAX; size++) {
        while (size > hak_classes[cls].size || (hak_class_whole(cls) != cls && !split[cls + 1]))
            cls++;
        if (hak_class_of(size) != cls)
            fail_msg("size %zu has class %u, want %u", size, hak_class_of(size), cls);
    }
    assert_int_equal(cls, HAK_CLASSES);
}

static void check_class_of(size_t guard) {
    (void)guard;
    bool split[HAK_TAGS] = {0};
    expect_classes(split);
    for (unsigned cls = 2; cls <= HAK_CLASSES; cls += 3) {
        hak_size_class_split(cls);
        split[cls] = true;
        expect_classes(split);
    }
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++) {
        hak_size_class_split(cls);
        split[cls] = true;
    }
    expect_classes(split);
    hak_size_class_unsplit();
}

/* A slot need not be more than a tenth larger than the request: so nine tenths of a limit can be used. */
static void halves_waste_little(void **state) {
    (void)state;
    for (unsigned cls = hak_class_of(257); cls <= HAK_CLASSES; cls++) {
        const hak_class_info *info = &hak_classes[cls];
        size_t memory = hak_align_up((size_t)info->slots * info->size, HAK_GRANULE);
        size_t least = hak_align_up(hak_classes[cls - 1].size + 1, 16); /* glibc rounds up to that */
        if (least * info->slots * 100 < memory * 90)
            fail_msg("slots of %u bytes: %zu bytes in each use %zu of %zu", info->size, least,
                     least * info->slots, memory);
    }
}

static void smallest_class(void **state) {
    (void)state;
    for_each_guard(check_class_of);
}

static void check_slack(size_t guard) {
    (void)guard;
    assert_int_equal(hak_classes[1].size, 16);
    assert_int_equal(hak_classes[HAK_CLASSES].size, HAK_SLAB_SIZE_MAX);
    for (unsigned cls = 2; cls <= HAK_CLASSES; cls++) {
        size_t below = hak_classes[cls - 1].size, size = hak_classes[cls].size;
        assert_true(size > below);
        assert_int_equal(size % HAK_MIN_ALIGN, 0);
        if (size > 256) /* the waste of a request just above the class below */
            assert_true((size - below) * (size <= 8192 ? 8 : 4) <= below + 32);
    }
}

static void little_waste(void **state) {
    (void)state;
    for_each_guard(check_slack);
}

static void check_shape(size_t guard) {
    uint32_t entry = 1;
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++) {
        const hak_class_info *info = &hak_classes[cls];
        assert_true(hak_is_pow2(info->slab_bytes));
        assert_true(info->slab_bytes >= HAK_GRANULE && info->slab_bytes <= HAK_SUPERSLAB);
        assert_true(info->slots >= 7);
        assert_true((size_t)info->slots * info->size + guard <= info->slab_bytes);
        assert_true((size_t)(info->slots + 1) * info->size + guard > info->slab_bytes);
        assert_true(info->bin_cap >= 4);
        assert_int_equal(info->bin_start, entry);
        entry += info->bin_cap + 1;
    }
    assert_int_equal(hak_class_bin_entries, entry);
}

static void slabs_hold_slots(void **state) {
    (void)state;
    for_each_guard(check_shape);
}

static void slot_of_every_byte(void **state) {
    (void)state;
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++) {
        const hak_class_info *info = &hak_classes[cls];
        uint32_t step =
            info->slab_bytes > 256 * HAK_KIB ? 3 : 1; /* no factor of a power of two: meets all residues */
        for (uint32_t offset = 0; offset < info->slab_bytes; offset += step)
            if (hak_slot_index(info, offset) != offset / info->size)
                fail_msg("class %u, byte %u: slot %u", cls, offset, hak_slot_index(info, offset));
        for (uint32_t at = info->size; at <= info->slab_bytes; at += info->size)
            for (uint32_t offset = at - 3; offset < at + 3; offset++)
                if (hak_slot_index(info, offset) != offset / info->size)
                    fail_msg("class %u, byte %u: slot %u", cls, offset, hak_slot_index(info, offset));
    }
}

static void slab_starts(void **state) {
    (void)state;
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++) {
        uintptr_t start = (uintptr_t)5 * HAK_SUPERSLAB;
        assert_int_equal(hak_slab_start(cls, start), start);
        assert_int_equal(hak_slab_start(cls, start + hak_classes[cls].slab_bytes - 1), start);
        assert_int_equal(hak_slab_start(cls, start + hak_classes[cls].slab_bytes),
                         start + hak_classes[cls].slab_bytes);
    }
}

/* The plain search. */
static unsigned aligned_class(size_t align, size_t size, bool halves) {
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
        if (hak_classes[cls].size >= size && hak_classes[cls].size % align == 0 &&
            (halves || hak_class_whole(cls) == cls))
            return cls;
    return 0;
}

static void check_aligned(bool halves) {
    for (size_t align = 1; align <= 2 * HAK_MIB; align *= 2)
        for (size_t size = 0; size <= HAK_SLAB_SIZE_MAX + 100; size += size < 2048 ? 1 : 61)
            if (hak_class_aligned(align, size) != aligned_class(align, size, halves))
                fail_msg("%zu bytes at %zu: class %u", size, align, hak_class_aligned(align, size));
}

static void aligned_classes(void **state) {
    (void)state;
    check_aligned(false);
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
        hak_size_class_split(cls);
    check_aligned(true);
    hak_size_class_unsplit();
    assert_int_equal(hak_class_aligned(16, SIZE_MAX), 0);
    assert_int_equal(hak_class_aligned((size_t)1 << 63, 16), 0);
    assert_int_equal(hak_class_aligned((size_t)1 << 63, SIZE_MAX), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE("every size has the smallest class that holds it and takes part", smallest_class),
        CASE("with all classes split, a tenth is wasted at most", halves_waste_little),
        CASE("classes grow by at most an eighth up to 8 KiB and a quarter above", little_waste),
        CASE("a slab has as many slots as fit before its guard", slabs_hold_slots),
        CASE("every byte of a slab is found in its slot without a division", slot_of_every_byte),
        CASE("a slab's start is found from any byte of it", slab_starts),
        CASE("an alignment is served by the smallest class whose size is a multiple of it", aligned_classes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
