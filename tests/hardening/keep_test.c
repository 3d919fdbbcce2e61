/* keep_test.c: how many freed large objects are kept back, and which leave first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "allocator/large.h"
#include "allocator/policy.h"
#include "hardening/keep.h"
#include "include/hakmem.h"

enum { MOST = 400 };

static char *objs[MOST];

static void keep(unsigned i, size_t size, bool guarded) {
    size_t capacity;
    objs[i] = hak_large_take(size, HAK_MIN_ALIGN, NULL, &capacity);
    assert_non_null(objs[i]);
    assert_true(hak_keep_take(objs[i], capacity, guarded));
}

/* Of `count` objects of `size` bytes the last `kept` are still there, after each one that comes. */
static void expect_kept(unsigned count, size_t size, bool guarded, unsigned kept) {
    for (unsigned i = 0; i < count; i++) {
        keep(i, size, guarded);
        assert_int_not_equal(hak_large_capacity(objs[i]), 0);
        assert_int_equal(atomic_load(&hak_large_count), i < kept ? i + 1 : kept);
    }
    for (unsigned i = 0; i < kept; i++)
        assert_int_not_equal(hak_large_capacity(objs[count - 1 - i]), 0);
}

/* Before each: nothing is kept, no object is live. */
static int none(void **state) {
    (void)state;
    hak_free(hak_malloc(1));
    hak_keep_reset();
    atomic_store(&hak_large_count, 0);
    return 0;
}

static void by_number(void **state) {
    (void)state;
    expect_kept(MOST, HAK_MIB, true, 64);
}
static void by_bytes(void **state) {
    (void)state;
    expect_kept(100, 8 * HAK_MIB, true, 8);
}
static void two_of_any_size(void **state) {
    (void)state;
    expect_kept(20, 200 * HAK_MIB, true, 2);
}
static void by_resident_bytes(void **state) {
    (void)state;
    expect_kept(100, 4 * HAK_MIB, false, 8);
}

static void too_large(void **state) {
    (void)state;
    size_t capacity;
    void *obj = hak_large_take(17 * HAK_MIB, HAK_MIN_ALIGN, NULL, &capacity);
    assert_false(hak_keep_take(obj, capacity, false));
    assert_true(hak_keep_take(obj, capacity, true));
}

#define SENTENCE(text, function) {text, function, none, NULL, NULL}

int main(void) {
    const struct CMUnitTest tests[] = {
        SENTENCE("64 objects are kept, the oldest leaves first", by_number),
        SENTENCE("64 MiB of addresses are kept", by_bytes),
        SENTENCE("two guarded objects are kept, however large they are", two_of_any_size),
        SENTENCE("32 MiB are kept of objects that no guard could take", by_resident_bytes),
        SENTENCE("an object of more than 16 MiB is kept only if it is guarded", too_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
