/* region_test.c: memory taken from regions, with an OS that serves and one that refuses. */
#include "tests/unit/unit.h"

#include "allocator/heap/large.h"
#include "allocator/os/os.h"
#include "allocator/pages/superslab.h"
#include "allocator/pages/tag.h"

#include <string.h>
#include <sys/mman.h>

static bool all_zero(uintptr_t addr, size_t size) {
    const char *bytes = (const char *)addr;
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0;
}

static void take_and_use(void **state) {
    (void)state;
    const size_t units[HAK_REGION_TYPED] = {HAK_SUPERSLAB, hak_os_page, HAK_GRANULE};
    for (int kind = 0; kind < HAK_REGION_TYPED; kind++) {
        uintptr_t before = 0;
        for (int i = 0; i < 40; i++) {
            hak_region *region = NULL;
            size_t size = (size_t)(1 + i % 3) * HAK_SUPERSLAB;
            uintptr_t addr = hak_region_take(kind, size, &region);
            assert_true(addr != 0 && addr % units[kind] == 0);
            assert_ptr_equal(hak_region_find(addr), region);
            assert_ptr_equal(hak_region_find(addr + size - 1), region);
            assert_true(region->kind == (hak_region_kind)kind && addr >= before);
            assert_true(all_zero(addr, HAK_GRANULE));
            memset((void *)addr, 1, 4096);
            memset((void *)(addr + size - 4096), 1, 4096);
            hak_tag_set(addr, size, HAK_TAG_NONE);
            assert_true(all_zero((uintptr_t)hak_region_record(region, addr), region->record_size));
            before = addr + size;
        }
    }
}

static void find_nothing(void **state) {
    (void)state;
    static int in_data;
    hak_region *region;
    uintptr_t addr = hak_region_take(HAK_REGION_SLABS, HAK_SUPERSLAB, &region);
    assert_null(hak_region_find(0));
    assert_null(hak_region_find((uintptr_t)&in_data));
    assert_null(hak_region_find(region->base - 1));
    assert_null(hak_region_find(region->base + region->committed));
    assert_null(hak_region_find(UINTPTR_MAX));
    assert_ptr_equal(hak_region_find(addr), region);
}

static void guarded_records(void **state) {
    (void)state;
    hak_region *region;
    uintptr_t addr = hak_region_take(HAK_REGION_LARGE, HAK_GRANULE, &region);
    uintptr_t second = hak_region_take(HAK_REGION_LARGE, 3 * HAK_GRANULE, &region);
    uintptr_t third = hak_region_take(HAK_REGION_LARGE, HAK_GRANULE, &region);
    hak_span *record = hak_region_record(region, addr);
    assert_int_equal(second - addr, HAK_GRANULE);
    assert_ptr_equal(hak_region_record(region, second), record + 1);
    assert_ptr_equal(hak_region_record(region, third + HAK_GRANULE - 1), record + 4);
}

/* The size of the process's address space, in bytes. */
static size_t address_space(void) {
    size_t bytes = unit_address_space();
    assert_true(bytes != 0);
    return bytes;
}

/* A sanitizer's shadow memory has most addresses; beside it the room is reserved, and the claims about address space
 * do not hold. */
static void skip_where_reserved(void) {
    hak_region *region;
    assert_true(hak_region_take(HAK_REGION_LARGE, HAK_GRANULE, &region) != 0);
    if (region->body.reserved)
        skip();
}

/* Each call of the OS in a take fails once: then nothing has changed, and the next take is served. */
static void refusals(void **state) {
    (void)state;
    skip_where_reserved();
    for (int kind = 0; kind < HAK_REGION_TYPED; kind++)
        for (uint64_t k = 1;; k++) {
            hak_test_reset(HAK_RESET_FRESH);
            hak_region *region = NULL;
            size_t space = address_space() - hak_region_mapped;
            (void)hak_os_fail_at(k);
            uintptr_t addr = hak_region_take(kind, HAK_SUPERSLAB, &region);
            if (hak_os_fail_at(0) < k)
                break;
            if (addr == 0)
                addr = hak_region_take(kind, HAK_SUPERSLAB, &region);
            assert_true(address_space() - hak_region_mapped <=
                        space + HAK_GRANULE); /* the table of tags grows */
            assert_true(addr != 0);
            memset((void *)addr, 1, HAK_SUPERSLAB);
            assert_int_equal(region->used, HAK_SUPERSLAB);
            assert_true(region->used <= region->committed && region->committed <= region->size);
        }
}

static void too_much(void **state) {
    (void)state;
    hak_region *region;
    size_t mapped = hak_region_mapped;
    assert_int_equal(hak_region_take(HAK_REGION_LARGE, (size_t)1 << 47, &region), 0);
    assert_int_equal(hak_region_mapped, mapped);
    assert_true(hak_region_take(HAK_REGION_LARGE, HAK_GRANULE, &region) != 0);
}

static void accounting(void **state) {
    (void)state;
    hak_region *region;
    size_t mapped = hak_region_mapped, committed = hak_region_committed, metadata = hak_region_metadata;
    assert_true(hak_region_take(HAK_REGION_LARGE, HAK_SUPERSLAB, &region) != 0);
    assert_true(hak_region_mapped >= mapped + region->body.mapped + region->meta_committed);
    assert_true(hak_region_committed >= committed + region->committed);
    assert_true(hak_region_metadata >= metadata + region->meta_committed);
    hak_region_dies(region);
    assert_int_equal(hak_region_mapped, mapped);
    assert_int_equal(hak_region_committed, committed);
    assert_int_equal(hak_region_metadata, metadata);
    hak_region *again;
    assert_true(hak_region_take(HAK_REGION_LARGE, HAK_SUPERSLAB, &again) != 0);
    assert_ptr_equal(again, region); /* the entry of the table is used again */
}

/* Each doubling of the heap takes about a dozen steps; a step is a mapping, its records, its tags, the policy's
 * tables, and advice. */
static void few_calls(void **state) {
    (void)state;
    hak_region *region;
    const hak_os_counters *counts = &hak_os_counts;
    for (size_t done = 0; done < (size_t)1 << 30; done += HAK_SUPERSLAB)
        assert_true(hak_region_take(HAK_REGION_SLABS, HAK_SUPERSLAB, &region) != 0);
    uint64_t before = counts->mmap + counts->mprotect + counts->madvise + counts->munmap;
    for (size_t done = 0; done < (size_t)1 << 30; done += HAK_SUPERSLAB)
        assert_true(hak_region_take(HAK_REGION_SLABS, HAK_SUPERSLAB, &region) != 0);
    uint64_t first = counts->mmap + counts->mprotect + counts->madvise + counts->munmap - before;
    for (size_t done = 0; done < (size_t)2 << 30; done += HAK_SUPERSLAB)
        assert_true(hak_region_take(HAK_REGION_SLABS, HAK_SUPERSLAB, &region) != 0);
    uint64_t second = counts->mmap + counts->mprotect + counts->madvise + counts->munmap - before - first;
    assert_in_range(first, 1, 6 * 12);
    assert_in_range(second, 1, 6 * 12);
}

/* Memory that is committed and unused is little, and goes on request. */
static void little_ahead(void **state) {
    (void)state;
    hak_region *region;
    for (size_t done = 0; done < (size_t)1 << 30; done += HAK_SUPERSLAB) {
        assert_true(hak_region_take(HAK_REGION_LARGE, HAK_SUPERSLAB, &region) != 0);
        assert_true(region->committed - region->used <= HAK_SUPERSLAB + region->used / 16);
    }
    size_t ahead = region->committed - region->used, mapped = hak_region_mapped;
    assert_true(hak_region_trim() >= ahead && hak_region_mapped <= mapped - ahead);
    assert_int_equal(region->committed, region->used);
    uintptr_t addr = hak_region_take(HAK_REGION_LARGE, HAK_GRANULE, &region);
    assert_true(all_zero(addr, HAK_GRANULE));
    memset((void *)addr, 1, HAK_GRANULE);
}

/* A small heap of large objects grows by a granule, or an eighth. */
static void less_ahead_when_small(void **state) {
    (void)state;
    hak_region *region;
    for (size_t done = 0; done < 7 * HAK_MIB; done += HAK_GRANULE) {
        assert_true(hak_region_take(HAK_REGION_LARGE, HAK_GRANULE, &region) != 0);
        assert_true(region->committed - region->used <= HAK_GRANULE + region->used / 8);
    }
}

/* Tables beside the records count like these, and go with the region. */
static void extra_counts(void **state) {
    (void)state;
    hak_region *region;
    size_t before = hak_region_committed, metadata_before = hak_region_metadata;
    assert_true(hak_region_take(HAK_REGION_SLABS, HAK_SUPERSLAB, &region) != 0);
    size_t committed = hak_region_committed, metadata = hak_region_metadata, had = region->extra.mapped;
    assert_non_null(hak_region_extra(region, 10 * hak_os_page));
    size_t more = region->extra.mapped - had;
    assert_true(more >= 10 * hak_os_page);
    assert_int_equal(hak_region_committed, committed + more);
    assert_int_equal(hak_region_metadata, metadata + more);
    hak_region_dies(region);
    assert_int_equal(hak_region_committed, before);
    assert_int_equal(hak_region_metadata, metadata_before);
}

/* A hollow part is not counted, cannot be touched, and comes back as zeros. */
static void hollow_parts(void **state) {
    (void)state;
    skip_where_reserved();
    hak_region *region;
    uintptr_t addr = hak_region_take(HAK_REGION_LARGE, 4 * HAK_MIB, &region);
    memset((void *)addr, 1, 4 * HAK_MIB);
    size_t mapped = hak_region_mapped, committed = hak_region_committed, space = address_space();
    unsigned char resident[1];
    assert_true(hak_region_hollow(region, addr + HAK_MIB, 2 * HAK_MIB));
    assert_int_equal(mincore((void *)(addr + HAK_MIB), hak_os_page, resident), -1);
    assert_true(hak_region_mapped == mapped - 2 * HAK_MIB && hak_region_committed == committed - 2 * HAK_MIB);
    assert_int_equal(address_space(), space - 2 * HAK_MIB);
    assert_int_equal(hak_region_fill(region, addr + HAK_MIB, 2 * HAK_MIB), HAK_MAP_DONE);
    assert_true(hak_region_mapped == mapped && hak_region_committed == committed);
    assert_true(all_zero(addr + HAK_MIB, 2 * HAK_MIB) && *(char *)addr == 1);
    uintptr_t hollow = hak_region_take_hollow(HAK_REGION_LARGE, 2 * HAK_MIB, &region);
    assert_true(hollow != 0 && hak_region_find(hollow) == region);
    assert_int_equal(mincore((void *)hollow, hak_os_page, resident), -1);
    assert_int_equal(hak_region_fill(region, hollow, 2 * HAK_MIB), HAK_MAP_DONE);
    assert_true(all_zero(hollow, 2 * HAK_MIB));
}

/* Other code has a mapping where the region would grow: it stays, and memory comes from another region. */
static void somebody_else(void **state) {
    (void)state;
    skip_where_reserved();
    hak_region *region, *next;
    assert_true(hak_region_take(HAK_REGION_LARGE, HAK_MIB, &region) != 0);
    char *theirs = mmap((void *)(region->base + 64 * HAK_MIB), HAK_MIB, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    assert_true((uintptr_t)theirs == region->base + 64 * HAK_MIB);
    memset(theirs, 0x5a, HAK_MIB);
    assert_null(hak_region_find((uintptr_t)theirs));
    bool other = false;
    for (int i = 0; i < 100; i++) {
        uintptr_t addr = hak_region_take(HAK_REGION_LARGE, HAK_MIB, &next);
        assert_true(addr != 0);
        memset((void *)addr, 1, HAK_MIB);
        other |= next != region;
    }
    assert_true(other);
    for (size_t i = 0; i < HAK_MIB; i++)
        assert_int_equal(theirs[i], 0x5a);
    assert_int_equal(munmap(theirs, HAK_MIB), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE("what is taken is aligned, committed, zero and found, and so is its record", take_and_use),
        CASE("no region is found at an address that is not ours", find_nothing),
        CASE("records lie one after the other, one per unit", guarded_records),
        CASE("a refusal of the OS at any step changes nothing, and keeps no address space", refusals),
        CASE("what the address space does not have is refused", too_much),
        CASE("a region that dies takes its part of every counter with it", accounting),
        CASE("system calls grow with the logarithm of the heap", few_calls),
        CASE("little is committed ahead, and given back", little_ahead),
        CASE("less when there is little", less_ahead_when_small),
        CASE("tables beside the records are counted", extra_counts),
        CASE("a hollow part is not counted, and comes back zeroed", hollow_parts),
        CASE("where somebody else has mapped, a region does not grow", somebody_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
