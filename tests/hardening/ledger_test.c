/* ledger_test.c: records hold the request, and claims are compared with them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "allocator/policy.h"
#include "hardening/ledger.h"
#include "include/hakmem.h"

static void size_is_known(void **state) {
    (void)state;
    for (size_t size = 1; size < 200000; size += 1 + size / 7) {
        char *obj = hak_malloc(size);
        assert_non_null(obj);
        assert_int_equal(hak_usable_size(obj), size);
        unsigned tag = hak_policy_tag(obj);
        hak_place place;
        if (tag - 1u < HAK_CLASSES) { /* otherwise it is a sampled object */
            assert_true(hak_ledger_find(obj, &place));
            assert_int_equal(hak_record_size(hak_record_load(place.record)), size);
            assert_int_equal(hak_record_state(hak_record_load(place.record)), HAK_SLOT_LIVE);
            assert_false(hak_ledger_find(obj + 1, &place));
        }
        hak_free(obj);
    }
}

/* For every class, at every slot's edges and between them: one product tells the slot and whether a slot begins
 * there. */
static void only_starts_of_slots_are_found(void **state) {
    (void)state;
    static hak_record records[HAK_GRANULE / HAK_MIN_ALIGN + 3];
    static const int64_t beside[] = {-16, -8, -1, 0, 1, 7, 8, 16, 24};
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++) {
        const hak_class_info *info = &hak_classes[cls];
        hak_granule granule = {
            .run = records + 1,
            .reciprocal = info->reciprocal << HAK_RECIPROCAL_SHIFT,
            .size = info->size,
            .mask = info->slab_bytes - 1,
        };
        assert_true(info->slab_bytes / info->size + 3 <= sizeof records / sizeof records[0]);
        for (uint64_t slot = 0; slot < info->slab_bytes / info->size; slot++)
            for (size_t i = 0; i < sizeof beside / sizeof beside[0]; i++) {
                uint64_t offset = slot * info->size + (uint64_t)beside[i];
                hak_place place;
                if (offset >= info->slab_bytes)
                    continue; /* before the slab, too */
                bool found = hak_granule_place(&granule, (const void *)(HAK_SUPERSLAB + offset), &place);
                assert_int_equal(found, offset % info->size == 0);
                assert_int_equal(place.slot, offset / info->size);
                assert_ptr_equal(place.record, records + 1 + place.slot);
            }
    }
}

static void claims(void **state) {
    (void)state;
    const uint32_t plain = hak_record_live((hak_origin){HAK_FAMILY_MALLOC, HAK_ALIGN_LOG2, 0, 0});
    const uint32_t aligned = hak_record_live((hak_origin){HAK_FAMILY_MALLOC, 6, 0, 0});
    const uint32_t array = hak_record_live((hak_origin){HAK_FAMILY_NEW_ARRAY, HAK_ALIGN_LOG2, 0, 0});
    hak_claim by_free = HAK_CLAIM("free", HAK_FAMILY_MALLOC), by_delete = HAK_CLAIM("delete", HAK_FAMILY_NEW),
              sized = by_free, by_aligned = by_free;
    sized.size = 10;
    by_aligned.align_log2 = 6;
    const struct {
        hak_claim claim;
        uint32_t word;
        bool fits;
    } rows[] = {
        {by_free, plain, true},     {by_free, aligned, true},    {by_free, array, false},
        {by_delete, plain, false},  {sized, plain, true},        {sized, aligned, false},
        {by_aligned, plain, false}, {by_aligned, aligned, true}, {by_free, HAK_SLOT_FREED, false},
        {by_free, 0, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_int_equal(hak_claim_fits(rows[i].claim, rows[i].word), rows[i].fits);
}

/* All 64-bit alignments: no two look alike, and only powers of two match. Records have at most the alignments of a
 * large object. */
static void every_alignment_is_told_apart(void **state) {
    (void)state;
    for (unsigned made = HAK_ALIGN_LOG2; made < HAK_ADDRESS_BITS; made++) {
        uint32_t word = hak_record_live((hak_origin){HAK_FAMILY_MALLOC, made, 0, 0});
        hak_claim claim = HAK_CLAIM("free_aligned_sized", HAK_FAMILY_MALLOC);
        for (unsigned said = 0; said < 64; said++) {
            claim.align_log2 = said;
            assert_int_equal(hak_claim_fits(claim, word), hak_max(said, HAK_ALIGN_LOG2) == made);
        }
        claim.align_log2 = HAK_CLAIM_ANY - 1; /* no power of two */
        assert_false(hak_claim_fits(claim, word));
        assert_int_equal(hak_record_state(word), HAK_SLOT_LIVE);
        assert_int_equal(hak_record_size(word), 0);
    }
}

static void freed_records_keep_size_and_owner(void **state) {
    (void)state;
    uint32_t live = hak_record_live((hak_origin){HAK_FAMILY_NEW, 12, 0, 0}) | 262136u
                                                                                  << HAK_RECORD_SIZE_SHIFT;
    uint32_t freed = hak_record_freed(HAK_RECORD_OWNERS - 1, live);
    assert_int_equal(hak_record_state(freed), HAK_SLOT_FREED);
    assert_int_equal(hak_record_size(freed), 262136);
    assert_int_equal(freed >> HAK_RECORD_OWNER_SHIFT & (HAK_RECORD_OWNERS - 1), HAK_RECORD_OWNERS - 1);
}

static void no_table_has_wild_addresses(void **state) {
    (void)state;
    static const uintptr_t wild[] = {1, 0x4141414141414140, UINTPTR_MAX, UINTPTR_MAX - 4095,
                                     (uintptr_t)1 << 47};
    for (size_t i = 0; i < sizeof wild / sizeof wild[0]; i++)
        assert_int_equal(hak_policy_tag((void *)wild[i]), HAK_TAG_NONE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        {"the record of a live slot says the requested size", size_is_known, NULL, NULL, NULL},
        {"a slot is found where one begins, and nowhere else", only_starts_of_slots_are_found, NULL, NULL,
         NULL},
        {"a claim fits a record only when family and alignment do", claims, NULL, NULL, NULL},
        {"no claim of another alignment, of any of 64 bits, fits", every_alignment_is_told_apart, NULL, NULL,
         NULL},
        {"the record of a freed slot says its last size and who freed it", freed_records_keep_size_and_owner,
         NULL, NULL, NULL},
        {"an address that cannot be has no tag", no_table_has_wild_addresses, NULL, NULL, NULL},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
