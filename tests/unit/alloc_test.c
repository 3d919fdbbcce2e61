/* alloc_test.c: what malloc's and free's slow paths refuse, in both variants. */
#include "tests/unit/unit.h"

#include "allocator/alloc.h"
#include "allocator/cache/cache.h"
#include "allocator/os/os.h"
#include "allocator/pages/tag.h"
#include "allocator/policy.h"
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

/* Takes objects until no memory is left; from then on the OS refuses memory. Returns their number, which must be
 * less than `most`. */
static int fill(void **objs, int most) {
    int count = 0;
    while (count < 1000 && (objs[count] = hak_malloc(1000)) != NULL)
        count++;
    (void)hak_os_fail_at(1 | HAK_OS_FAIL_ON);
    while (count < most && (objs[count] = hak_malloc(1000)) != NULL)
        count++;
    assert_in_range(count, 1000, most - 1);
    return count;
}

/* All memory is in use, except one slab of another class. Its slots lie in the thread's bin and in their depot. */
static void one_slab_is_left(void) {
    enum { MOST = 100000 };
    static void *objs[MOST];
    int count = fill(objs, MOST);
    uintptr_t slab = hak_slab_start(hak_tag_of(objs[count - 1]), (uintptr_t)objs[count - 1]);
    for (int i = 0; i < count; i++)
        if (hak_slab_start(hak_tag_of(objs[i]), (uintptr_t)objs[i]) == slab)
            hak_free(objs[i]);
}

static void what_is_kept_serves(void **state) {
    (void)state;
    if (HAK_POLICY_CLASS_BOUND) { /* a slab's memory serves its class only, and the slots are in quarantine first */
        skip();
    }
    one_slab_is_left();
    void *plain = hak_malloc(3000);
    assert_non_null(plain);
    hak_free(plain);
    (void)hak_os_fail_at(0);
    (void)unit_fresh(NULL);
    one_slab_is_left();
    void *aligned = hak_aligned_alloc(4096, 3000);
    assert_non_null(aligned);
    assert_int_equal((uintptr_t)aligned % 4096, 0);
    hak_free(aligned);
    (void)hak_os_fail_at(0);
}

/* A request that cannot be served takes nothing away from kept memory. */
static void the_impossible(void **state) {
    (void)state;
    enum { COUNT = 40 };
    static void *objs[COUNT];
    for (int i = 0; i < COUNT; i++)
        objs[i] = hak_malloc(1000);
    for (int i = 0; i < COUNT; i++)
        hak_free(objs[i]);
    size_t held = hak_cache_held();
    assert_true(held != 0);
    assert_null(hak_malloc(PTRDIFF_MAX));
    assert_null(hak_aligned_alloc(64, (size_t)1 << 50));
    assert_null(hak_calloc((size_t)1 << 24, (size_t)1 << 30));
    assert_int_equal(hak_cache_held(), held);
}

/* All memory is in use, except what was freed last; the quarantine of the hardened variant holds that. */
static void what_rests_serves(void **state) {
    (void)state;
    enum { MOST = 100000, FREED = 40 };
    static void *objs[MOST];
    int count = fill(objs, MOST), again = 0;
    for (int i = 0; i < FREED; i++)
        hak_free(objs[--count]);
    while (again < FREED && (objs[count] = hak_malloc(1000)) != NULL)
        count++, again++;
    (void)hak_os_fail_at(0);
    assert_in_range(again, FREED - 4, FREED); /* places of a site's first objects stay unused */
    while (count > 0)
        hak_free(objs[--count]);
}

/* The size would fit where the object is, but not the alignment. */
static void changes_alignment(void **state) {
    (void)state;
    enum { COUNT = 40, SIZE = 1000, LOG2 = 11 };
    static const hak_origin aligned = {.family = HAK_FAMILY_MALLOC, .align_log2 = LOG2};
    char *objs[COUNT];
    unsigned moved = 0;
    for (int i = 0; i < COUNT; i++) {
        size_t had;
        objs[i] = hak_malloc(SIZE);
        objs[i][SIZE - 1] = 'x';
        moved += (uintptr_t)objs[i] % (1 << LOG2) != 0;
        objs[i] = hak_object_change(objs[i], SIZE, aligned, "rallocx", 0, &had);
        assert_true((uintptr_t)objs[i] % (1 << LOG2) == 0 && objs[i][SIZE - 1] == 'x' && had >= SIZE);
    }
    for (int i = 0; i < COUNT; i++)
        hak_free(objs[i]);
    assert_true(moved != 0);
}

/* In place as far as it goes: where the most is too much, the least that will do. */
static void grows_to_the_least(void **state) {
    (void)state;
    size_t had;
    char *volatile obj = hak_malloc(HAK_MIB); /* the compiler knows its size */
    assert_true(hak_object_resize(obj, 3 * HAK_MIB, PTRDIFF_MAX, "xallocx", 0, &had));
    assert_in_range(had, HAK_MIB, HAK_MIB + hak_os_page);
    assert_in_range(hak_usable_size(obj), 3 * HAK_MIB, 3 * HAK_MIB + hak_os_page);
    obj[3 * HAK_MIB - 1] = 'x';
    hak_free(obj);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE("free of memory that is not ours ends the process", free_of_others),
        CASE("free within a large object ends the process", free_within_a_large_object),
        CASE("free of a large object that was freed ends the process", free_of_a_freed_large_object),
        CASE("what is kept for reuse serves a request, aligned or not, when the OS has no more",
             what_is_kept_serves),
        CASE("what was freed last serves a request when the OS has no more", what_rests_serves),
        CASE("an object that is to be aligned in another way moves", changes_alignment),
        CASE("an object grows in place by the least where the most is too much", grows_to_the_least),
        CASE("a request that nothing can serve takes nothing of that away", the_impossible),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
