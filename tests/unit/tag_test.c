/* tag_test.c: the table from addresses to tags, whole and sparse. */
#include "tests/unit/at_start.h"
#include "tests/unit/unit.h"

#include "allocator/os/os.h"
#include "allocator/pages/region.h"
#include "allocator/pages/tag.h"
#include "include/hakmem.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static void not_ours(void **state) {
    (void)state;
    static int in_data;
    int on_stack;
    void *mapped = mmap(NULL, 64 * HAK_MIB, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const void *const addresses[] = {NULL,     (void *)1, &in_data, &on_stack, (void *)(uintptr_t)&strlen,
                                     "a text", mapped,    sbrk(0)};
    for (size_t i = 0; i < sizeof addresses / sizeof addresses[0]; i++)
        assert_int_equal(hak_tag_of(addresses[i]), HAK_TAG_NONE);
}

/* A program may free such addresses by mistake; it must not fault then. */
static void far_from_what_is_there(void **state) {
    (void)state;
    const size_t gib = (size_t)1 << 30;
    const uintptr_t top = ((uintptr_t)1 << HAK_ADDRESS_BITS) - 1;
    const struct {
        hak_landmark at;
        size_t before, after; /* GiB */
    } rows[] = {{HAK_LANDMARK_PROGRAM, 1, 4},
                {HAK_LANDMARK_LIBC, 16, 2},
                {HAK_LANDMARK_LIBRARY, 1, 1},
                {HAK_LANDMARK_STACK, 2, 1}};
    uintptr_t landmarks[HAK_OS_LANDMARKS];
    hak_os_landmarks(landmarks);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uintptr_t at = landmarks[rows[i].at], before = rows[i].before * gib, after = rows[i].after * gib;
        for (uintptr_t from = at > before ? at - before : 0; from <= at + after && from <= top;
             from += gib / 8)
            (void)*(volatile uint8_t *)&hak_tags[from >> HAK_GRANULE_SHIFT];
    }
}

static void covered_range(void **state) {
    (void)state;
    uintptr_t addr = hak_os_reserve(4 * HAK_SUPERSLAB, HAK_SUPERSLAB, 0);
    assert_true(hak_tag_cover(addr, 4 * HAK_SUPERSLAB));
    hak_tag_set(addr + HAK_SUPERSLAB, HAK_SUPERSLAB, 7);
    hak_tag_set(addr + HAK_SUPERSLAB + HAK_GRANULE, HAK_GRANULE, 9);
    for (uintptr_t at = addr; at < addr + 4 * HAK_SUPERSLAB; at += HAK_GRANULE / 2) {
        uintptr_t granule = (at - addr) / HAK_GRANULE;
        unsigned want = granule == 33 ? 9 : granule >= 32 && granule < 64 ? 7 : HAK_TAG_NONE;
        assert_int_equal(hak_tag_of((void *)at), want);
        assert_int_equal(hak_tag_of((void *)(at + HAK_GRANULE / 2 - 1)), want);
    }
    hak_tag_set(addr, 4 * HAK_SUPERSLAB, HAK_TAG_NONE);
    hak_os_unmap(addr, 4 * HAK_SUPERSLAB);
}

static void refusal(void **state) {
    (void)state;
    uintptr_t addr = hak_os_reserve(HAK_SUPERSLAB, HAK_SUPERSLAB, 0);
    (void)hak_os_fail_at(1);
    assert_false(hak_tag_cover(addr, HAK_SUPERSLAB));
    (void)hak_os_fail_at(0);
    assert_int_equal(hak_tag_of((void *)addr), HAK_TAG_NONE);
    hak_os_unmap(addr, HAK_SUPERSLAB);
}

/* Runs in a process of its own, before and after the first call. It does not use cmocka's asserts: nothing would
 * print them. */
static int small(void) {
    (void)hak_os_fail_at(0);
    size_t before = unit_address_space();
    void *obj = hak_malloc(100);
    size_t more = unit_address_space() - before;
    hak_free(obj);
    return obj == NULL ? 10 : more < 8 * HAK_MIB ? 0 : 11;
}

static void small_table(void **state) {
    (void)state;
    hak_region *region;
    assert_true(hak_region_take(HAK_REGION_LARGE, HAK_GRANULE, &region) != 0);
    if (region->body.reserved) /* beside a sanitizer no address can be chosen: the table is whole */
        skip();
    int status = at_start_run(0, "small");
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(int argc, char **argv) {
    (void)argv;
    if (argc > 1)
        return small();
    const struct CMUnitTest tests[] = {
        CASE("what is not ours has no tag, wherever it lies", not_ours),
        CASE("nor has what is some GiB away from what the process has", far_from_what_is_there),
        CASE("a range that is covered has the tags that were set, granule by granule", covered_range),
        CASE("when the OS refuses, nothing has changed", refusal),
        CASE("a process takes a few MiB of address space at its start", small_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
