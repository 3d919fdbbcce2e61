/* contract_token_test.c: the calls with a token behave like those without one in every other respect (hakmem.h). */
#include "tests/contract/contract.h"

#include <errno.h>
#include <string.h>

static const size_t tokens[] = {0, 1, 77, SIZE_MAX / 2 + 1, SIZE_MAX};
static const size_t sizes[] = {0, 1, 16, 100, 1000, 5000, 70000, 300000};
enum { TOKENS = sizeof tokens / sizeof tokens[0], SIZES = sizeof sizes / sizeof sizes[0], OBJECTS = 8 };

#define EACH(t, s)                                                                                           \
    for (int t = 0; t < TOKENS; t++)                                                                         \
        for (int s = 0; s < SIZES; s++)

static void whole_and_zero(void **state) {
    (void)state;
    EACH(t, s) {
        char *objs[OBJECTS];
        for (int i = 0; i < OBJECTS; i++) {
            objs[i] = hak_malloc_token(sizes[s], tokens[t]);
            assert_non_null(objs[i]);
            assert_int_equal((uintptr_t)objs[i] % 16, 0);
            assert_true(hak_usable_size(objs[i]) >= sizes[s]);
            memset(objs[i], 0xff, sizes[s]);
        }
        for (int i = 0; i < OBJECTS; i++)
            hak_free(objs[i]);
        for (int i = 0; i < OBJECTS; i++) { /* of memory used before */
            objs[i] = hak_calloc_token(i % 2 == 0 ? 1 : sizes[s], i % 2 == 0 ? sizes[s] : 1, tokens[t]);
            assert_non_null(objs[i]);
            assert_true(contract_is_zero(objs[i], sizes[s]));
        }
        for (int i = 0; i < OBJECTS; i++)
            hak_free(objs[i]);
    }
}

static void resized(void **state) {
    (void)state;
    EACH(t, s) {
        char *obj = hak_realloc_token(NULL, 50, tokens[t]);
        assert_non_null(obj);
        contract_fill(obj, 50, 3);
        if (sizes[s] != 0) {
            obj = hak_realloc_token(obj, sizes[s], tokens[t]);
            assert_non_null(obj);
            assert_true(contract_holds(obj, sizes[s] < 50 ? sizes[s] : 50, 3));
            obj = hak_reallocarray_token(obj, 10, sizes[s], tokens[(t + 1) % TOKENS]);
            assert_non_null(obj);
            assert_true(hak_usable_size(obj) >= 10 * sizes[s]);
            assert_true(contract_holds(obj, sizes[s] < 50 ? sizes[s] : 50, 3));
        }
        hak_free(obj);
    }
    hak_stats before, after;
    static void *kept[2000];
    for (int i = 0; i < 2000; i++)
        kept[i] = hak_malloc_token(300000, 9);
    hak_stats_read(&before);
    for (int i = 0; i < 2000; i++) /* ends the object, as hak_realloc does */
        assert_null(hak_realloc_token(kept[i], 0, 9));
    hak_stats_read(&after);
    assert_true(after.live_objects <= before.live_objects - 1300); /* up to 640 are in quarantine */
}

static void aligned(void **state) {
    (void)state;
    EACH(t, s)
    for (size_t alignment = 1; alignment <= 65536; alignment *= 2) {
        void *objs[3] = {hak_aligned_alloc_token(alignment, sizes[s], tokens[t]),
                         hak_memalign_token(alignment, sizes[s], tokens[t]), NULL};
        size_t least = alignment < sizeof(void *) ? sizeof(void *) : alignment;
        errno = 77;
        assert_int_equal(hak_posix_memalign_token(&objs[2], least, sizes[s], tokens[t]), 0);
        assert_int_equal(errno, 77);
        for (int i = 0; i < 3; i++) {
            assert_non_null(objs[i]);
            assert_int_equal((uintptr_t)objs[i] % alignment, 0);
            contract_fill(objs[i], sizes[s], 5);
            assert_true(contract_holds(objs[i], sizes[s], 5));
            hak_free(objs[i]);
        }
    }
}

static void refused(void **state) {
    (void)state;
    size_t huge = contract_hide(SIZE_MAX / 2 + 10), half = contract_hide(SIZE_MAX / 2 + 2);
    for (int t = 0; t < TOKENS; t++) {
        void *obj = hak_malloc_token(100, tokens[t]), *out = obj;
        contract_fill(obj, 100, 9);
#define REFUSED(call, error)                                                                                 \
    errno = 0;                                                                                               \
    assert_null(call);                                                                                       \
    assert_int_equal(errno, error)
        REFUSED(hak_malloc_token(huge, tokens[t]), ENOMEM);
        REFUSED(hak_calloc_token(half, 2, tokens[t]), ENOMEM);
        REFUSED(hak_calloc_token(2, half, tokens[t]), ENOMEM);
        REFUSED(hak_realloc_token(obj, huge, tokens[t]), ENOMEM);
        REFUSED(hak_reallocarray_token(obj, half, 2, tokens[t]), ENOMEM);
        REFUSED(hak_aligned_alloc_token(64, huge, tokens[t]), ENOMEM);
        REFUSED(hak_aligned_alloc_token(contract_hide(24), 48, tokens[t]), EINVAL);
        REFUSED(hak_aligned_alloc_token(contract_hide(0), 48, tokens[t]), EINVAL);
        REFUSED(hak_memalign_token(contract_hide(SIZE_MAX), 48, tokens[t]), EINVAL);
        errno = 77;
        assert_int_equal(hak_posix_memalign_token(&out, contract_hide(4), 48, tokens[t]), EINVAL);
        assert_int_equal(hak_posix_memalign_token(&out, contract_hide(24), 48, tokens[t]), EINVAL);
        assert_int_equal(hak_posix_memalign_token(&out, 64, huge, tokens[t]), ENOMEM);
        assert_true(out == obj && errno == 77);
        assert_true(contract_holds(obj, 100, 9));
        hak_free(obj);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE("objects are whole, and calloc's are zero", whole_and_zero),
        CASE("realloc and reallocarray keep what there was; to no bytes ends the object", resized),
        CASE("alignments are kept, and errno", aligned),
        CASE("what cannot be is refused, and changes nothing", refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
