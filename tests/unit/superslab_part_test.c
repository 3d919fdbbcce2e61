/* superslab_part_test.c: slabs of which only a part is mapped. */
#include "tests/unit/slabs.h"

#include "allocator/os/os.h"
#include "allocator/policy.h"

/* Also holds when all free memory was unmapped meanwhile. */
static void first_in_part(void **state) {
    (void)state;
    hak_slab *first = hak_superslab_take_slab(slab_wide_class(), 0);
    if (hak_region_find(first->start)->body.reserved)
        skip(); /* under a sanitizer, which has the address space, regions are reserved */
    assert_in_range(first->part_count, 1, first->slots - 1);
    assert_int_equal(slab_mapped_bytes(first), hak_superslab_live_bytes);
    assert_true(slab_mapped_bytes(first) <= HAK_SUPERSLAB / 4);
    slab_touch(first, 1);
    size_t have = 0;
    for (uint32_t slot = 0; slot < first->slots; slot++)
        have += hak_slab_has(first, slot);
    assert_int_equal(have, hak_slab_all(first));
    hak_slab *second = hak_superslab_take_slab(slab_wide_class(), 0);
    assert_int_equal(second->part_count, 0);
    size_t memory = (size_t)__builtin_popcount(hak_slab_memory(second)) * HAK_GRANULE;
    assert_true(memory < HAK_SUPERSLAB); /* nothing need be mapped behind the last slot */
    assert_int_equal(slab_mapped_bytes(second), memory);
    slab_touch(second, 1);
    hak_superslab_give_slab(first);
    hak_superslab_check();
    assert_true(hak_superslab_hollow() != 0);
    hak_superslab_check();
    hak_slab *again = hak_superslab_take_slab(slab_wide_class(), 0);
    hak_superslab_check();
    assert_int_equal(again->part_count, 0);
    slab_touch(again, 1);
    hak_superslab_give_slab(again);
    hak_superslab_give_slab(second);
}

/* The same for slabs that are wide so that there are slots to draw from: the part has as many slots as a batch is
 * drawn from. */
static void first_in_part_of_many(void **state) {
    (void)state;
    enum { LEAST = 64 };
    if (HAK_POLICY_SLAB_SLOTS == 0)
        skip(); /* slabs are short there */
    for (size_t size = 1100; size <= 4500; size += 400) {
        unsigned cls = hak_class_of(size);
        hak_test_reset(HAK_RESET_FRESH);
        hak_slab *first = hak_superslab_take_slab(cls, 0);
        if (hak_region_find(first->start)->body.reserved)
            skip();
        size_t wanted = hak_max(128 * HAK_KIB, LEAST * hak_classes[cls].size);
        assert_in_range(hak_slab_all(first), LEAST, first->slots - 1);
        assert_true(slab_mapped_bytes(first) <= wanted + 2 * HAK_GRANULE);
        assert_int_equal(slab_mapped_bytes(first), hak_superslab_live_bytes);
        slab_touch(first, 1);
        hak_slab *second = hak_superslab_take_slab(cls, 0);
        assert_int_equal(second->part_count, 0);
        slab_touch(second, 1);
        hak_superslab_check();
    }
    hak_test_reset(HAK_RESET_FRESH); /* else the exit finds writes into slots that were never given out */
}

/* Lets each call fail in turn; one of them maps the whole slab. */
static void refused_whole(void **state) {
    (void)state;
    unsigned parts = 0;
    uint64_t seen;
    for (uint64_t k = 1;; k++) {
        hak_test_reset(HAK_RESET_FRESH);
        hak_slab *first = hak_superslab_take_slab(slab_wide_class(), 0);
        if (hak_region_find(first->start)->body.reserved)
            skip();
        (void)hak_os_fail_at(k);
        hak_slab *slab = hak_superslab_take_slab(slab_wide_class(), 0);
        seen = hak_os_fail_at(0);
        hak_superslab_check();
        if (slab != NULL) {
            slab_touch(slab, 1);
            parts += slab->part_count != 0;
        }
        if (seen < k)
            break;
    }
    assert_true(parts >= 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE("a small heap has a part of the first slab of a class of wide slots", first_in_part),
        CASE("where a whole slab of wide slots is refused, a part of it is had", refused_whole),
        CASE("a small heap has as many slots of a class's first slab as a batch is drawn from",
             first_in_part_of_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
