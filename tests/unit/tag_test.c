/* tag_test.c: the table from addresses to tags, whole and sparse. */
#include "tests/unit/at_start.h"
#include "tests/unit/unit.h"

#include "allocator/os.h"
#include "allocator/tag.h"
#include "include/hakmem.h"

#include <string.h>
#include <sys/wait.h>

static void not_ours(void **state) {
    (void)state;
    static int in_data;
    int on_stack;
    const uintptr_t top = (uintptr_t)1 << HAK_ADDRESS_BITS;
    const void *const addresses[] = {
        NULL,     (void *)1,         &in_data,         &on_stack, (void *)(uintptr_t)&strlen,
        "a text", (void *)(top / 2), (void *)(top - 1)};
    for (size_t i = 0; i < sizeof addresses / sizeof addresses[0]; i++)
        assert_int_equal(hak_tag_of(addresses[i]), HAK_TAG_NONE);
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

/* In a process of its own, to which the OS refused the whole table. Not cmocka's asserts: nobody is there to print them. */
static int sparse(void) {
    (void)hak_os_fail_at(0);
    static int in_data;
    int on_stack;
    const void *const not_ours[] = {NULL, &in_data, &on_stack, (void *)(uintptr_t)&strlen};
    for (size_t i = 0; i < sizeof not_ours / sizeof not_ours[0]; i++)
        if (hak_tag_of(not_ours[i]) != HAK_TAG_NONE)
            return 10 + (int)i;
    uintptr_t addr = hak_os_reserve(2 * HAK_SUPERSLAB, HAK_SUPERSLAB, 0);
    for (int i = 0; i < 2; i++) /* the second time it is covered already */
        if (!hak_tag_cover(addr, 2 * HAK_SUPERSLAB))
            return 20 + i;
    hak_tag_set(addr + HAK_SUPERSLAB, HAK_SUPERSLAB, 3);
    if (hak_tag_of((void *)(addr + HAK_SUPERSLAB - 1)) != HAK_TAG_NONE)
        return 30;
    if (hak_tag_of((void *)(addr + HAK_SUPERSLAB)) != 3)
        return 31;
    void *obj = hak_malloc(100);
    if (obj == NULL)
        return 32;
    hak_free(obj);
    uintptr_t sparse_place =
        (uintptr_t)hak_tags - ((uintptr_t)1 << 44); /* SPARSE_FIRST of tag.c, or one of its next tries */
    return sparse_place % ((uintptr_t)1 << 31) == 0 && sparse_place < (uintptr_t)16 << 31 ? 0 : 40;
}

static void sparse_table(void **state) {
    (void)state;
    if (UNDER_MSAN) /* its own shadow lies where the sparse table would */
        skip();
    unsigned found = 0;
    for (uint64_t k = 0; k <= 10;
         k++) { /* one of the first calls is for the table; what a policy asks first, varies */
        int status = at_start_run(k, "sparse");
        assert_true(WIFEXITED(status));
        assert_true(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 40);
        assert_true(k != 0 || WEXITSTATUS(status) == 40); /* the whole table is there, where nothing fails */
        found += WEXITSTATUS(status) == 0;
    }
    assert_int_equal(found, 1);
}

int main(int argc, char **argv) {
    (void)argv;
    if (argc > 1)
        return sparse();
    const struct CMUnitTest tests[] = {
        SENTENCE("what is not ours has no tag, wherever it lies", not_ours),
        SENTENCE("a range that is covered has the tags that were set, granule by granule", covered_range),
        SENTENCE("when the OS refuses, nothing has changed", refusal),
        SENTENCE("where the whole table is refused, a sparse one has the tags of what is in use",
                 sparse_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
