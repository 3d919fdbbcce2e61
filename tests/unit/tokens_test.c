/* tokens_test.c: the tokens that the macros of hakmem.h make where the compiler has none: of what kind a type is, and
 * which types have one token. */
#include "tests/unit/unit.h"

#include "include/hakmem.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static void need_own_tokens(void) {
    if (HAK_INFERS_TOKENS)
        skip();
}

static bool has_pointers(size_t token) {
    return token > SIZE_MAX / 2;
}

typedef struct point {
    long double x;
} point;
typedef void function(void);

static void numbers_are_data(void **state) {
    (void)state;
    need_own_tokens();
    const size_t numbers[] = {
        HAK_TYPE_TOKEN(_Bool),        HAK_TYPE_TOKEN(char),      HAK_TYPE_TOKEN(signed char),
        HAK_TYPE_TOKEN(short),        HAK_TYPE_TOKEN(int),       HAK_TYPE_TOKEN(unsigned char),
        HAK_TYPE_TOKEN(long),         HAK_TYPE_TOKEN(long long), HAK_TYPE_TOKEN(unsigned short),
        HAK_TYPE_TOKEN(unsigned int), HAK_TYPE_TOKEN(float),     HAK_TYPE_TOKEN(unsigned long),
        HAK_TYPE_TOKEN(double),       HAK_TYPE_TOKEN(uint8_t),   HAK_TYPE_TOKEN(unsigned long long),
        HAK_TYPE_TOKEN(size_t),       HAK_TYPE_TOKEN(int64_t),   HAK_TYPE_TOKEN(long double)};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        assert_false(has_pointers(numbers[i]));
        for (size_t k = 0; k < i; k++)
            assert_true(numbers[i] != numbers[k]);
    }
}

static void all_else_may_have_pointers(void **state) {
    (void)state;
    need_own_tokens();
    assert_true(has_pointers(HAK_TYPE_TOKEN(char *)) && has_pointers(HAK_TYPE_TOKEN(function *)));
    assert_true(has_pointers(HAK_TYPE_TOKEN(point)) && has_pointers(HAK_TYPE_TOKEN(struct point)));
    assert_false(has_pointers(HAK_DATA_TOKEN(point)) || has_pointers(HAK_DATA_TOKEN(char *)));
    assert_true(HAK_DATA_TOKEN(point) != HAK_TYPE_TOKEN(point));
}

/* With "struct " before them: the 21st, the 32nd and the 33rd character are others, or the name is longer. */
#define SAME_SIZE                                                                                            \
    {                                                                                                        \
        int x;                                                                                               \
    }
struct abcdefghijklmnopqrstuvwxy_a SAME_SIZE;
struct abcdefghijklmNopqrstuvwxy_a SAME_SIZE;
struct abcdefghijklmnopqrstuvwxY_a SAME_SIZE;
struct abcdefghijklmnopqrstuvwxy_b SAME_SIZE;
struct abcdefghijklmnopqrstuvwxy_ab SAME_SIZE;

static void by_start_and_length_of_the_name(void **state) {
    (void)state;
    need_own_tokens();
    const size_t it = HAK_TYPE_TOKEN(struct abcdefghijklmnopqrstuvwxy_a);
    assert_true(it == HAK_TYPE_TOKEN(struct abcdefghijklmnopqrstuvwxy_a));
    assert_true(it != HAK_TYPE_TOKEN(struct abcdefghijklmNopqrstuvwxy_a));
    assert_true(it != HAK_TYPE_TOKEN(struct abcdefghijklmnopqrstuvwxY_a));
    assert_true(it != HAK_TYPE_TOKEN(struct abcdefghijklmnopqrstuvwxy_ab));
    assert_true(it == HAK_TYPE_TOKEN(struct abcdefghijklmnopqrstuvwxy_b));
}

static void as_large_as_the_type(void **state) {
    (void)state;
    point *one = HAK_MALLOC_OF(point), *more = HAK_CALLOC_OF(point, 50);
    assert_true(hak_usable_size(one) >= sizeof(point) && hak_usable_size(more) >= 50 * sizeof(point));
    static const char zeros[50 * sizeof(point)];
    assert_memory_equal(more, zeros, sizeof zeros);
    memset(more, 'x', 50 * sizeof(point));
    more = HAK_REALLOC_OF(point, more, 5000);
    assert_true(hak_usable_size(more) >= 5000 * sizeof(point));
    assert_int_equal(((char *)more)[sizeof zeros - 1], 'x');
    hak_free(one);
    hak_free(more);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE("tokens of numbers are data, each another", numbers_are_data),
        CASE("all other types may have pointers", all_else_may_have_pointers),
        CASE("32 characters of the name count, and its length", by_start_and_length_of_the_name),
        CASE("objects of a type are as large as it is", as_large_as_the_type),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
