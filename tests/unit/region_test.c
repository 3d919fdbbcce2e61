/* region_test.c: taking from regions, with the OS willing and not. */
#include "tests/unit/unit.h"

#include "allocator/large.h"
#include "allocator/os.h"
#include "allocator/superslab.h"
#include "allocator/tag.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool all_zero(uintptr_t addr, size_t size) {
    const char *bytes = (const char *)addr;
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0;
}

static void take_and_use(void **state) {
    (void)state;
    const size_t units[HAK_REGION_KINDS] = {HAK_SUPERSLAB, hak_os_page, HAK_GRANULE};
    for (int kind = 0; kind < HAK_REGION_KINDS; kind++) {
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
    assert_null(hak_region_find(region->base + region->size));
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

/* Bytes of address space that the process has. */
static size_t address_space(void) {
    char text[64] = {0};
    int fd = open("/proc/self/statm", O_RDONLY);
    assert_true(fd >= 0 && read(fd, text, sizeof text - 1) > 0);
    close(fd);
    return strtoul(text, NULL, 10) * hak_os_page;
}

/* Each call of the OS that a take makes fails once: nothing has changed then, and the next take is served. */
static void refusals(void **state) {
    (void)state;
    for (int kind = 0; kind < HAK_REGION_KINDS; kind++)
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
            assert_true(address_space() - hak_region_mapped < space + 1024 * (size_t)HAK_MIB);
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
    assert_true(hak_region_mapped >= mapped + region->size);
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

static void few_calls(void **state) {
    (void)state;
    hak_region *region;
    uint64_t before = hak_os_counts.mprotect;
    for (size_t done = 0; done < (size_t)4 << 30; done += HAK_SUPERSLAB)
        assert_true(hak_region_take(HAK_REGION_SLABS, HAK_SUPERSLAB, &region) != 0);
    assert_true(hak_os_counts.mprotect - before <=
                60); /* 2048 takes; about three calls for each of a dozen steps */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SENTENCE("what is taken is aligned, committed, zero and found, and so is its record", take_and_use),
        SENTENCE("no region is found at an address that is not ours", find_nothing),
        SENTENCE("records lie one after the other, one per unit", guarded_records),
        SENTENCE("a refusal of the OS at any step changes nothing, and keeps no address space", refusals),
        SENTENCE("what the address space does not have is refused", too_much),
        SENTENCE("a region that dies takes its part of every counter with it", accounting),
        SENTENCE("system calls grow with the logarithm of the heap", few_calls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
