/* alloc_test.c: what malloc's and free's slow paths refuse, in both variants. */
#include "tests/unit/unit.h"

#include "allocator/os.h"
#include "include/hakmem.h"

static void free_it(void *address) {
    hak_free(address);
}
static void resize_it(void *address) {
    hak_free(hak_realloc(address, 100));
}

static void free_of_others(void **state) {
    (void)state;
    static char in_data[64] __attribute__((aligned(16)));
    char on_stack[64] __attribute__((aligned(16)));
    uintptr_t mapped = hak_os_reserve(HAK_MIB, HAK_MIB, 0);
    unit_expect_death(free_it, in_data, "invalid free: free(0x");
    unit_expect_death(free_it, on_stack, "invalid free: free(0x");
    unit_expect_death(free_it, (void *)(mapped + 4096), "invalid free: free(0x");
    unit_expect_death(resize_it, in_data, "invalid ");
    hak_os_unmap(mapped, HAK_MIB);
}

static void free_within_a_large_object(void **state) {
    (void)state;
    char *obj = hak_malloc(2 * HAK_MIB);
    unit_expect_death(free_it, obj + HAK_GRANULE,
                      "free: free(0x"); /* invalid or, where the ledger knows more, interior */
    unit_expect_death(free_it, obj + HAK_MIB, "free: free(0x");
    hak_free(obj);
}

static void free_of_a_freed_large_object(void **state) {
    (void)state;
    char *obj = hak_malloc(2 * HAK_MIB);
    hak_free(obj);
    unit_expect_death(free_it, obj, "free: free(0x"); /* invalid or double */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SENTENCE("free of memory that is not ours ends the process", free_of_others),
        SENTENCE("free within a large object ends the process", free_within_a_large_object),
        SENTENCE("free of a large object that was freed ends the process", free_of_a_freed_large_object),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
