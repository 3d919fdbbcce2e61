/* span_index_test.c: the index of free spans by length, on records that describe no memory. */
#include "tests/unit/unit.h"

#include "allocator/heap/span_index.h"

#include <string.h>

enum { SPANS = 300, KIND = HAK_REGION_ALIGNED };
static hak_span spans[SPANS];

static void make_free(hak_span *span, uint32_t granules) {
    span->granules = granules;
    span->kind = KIND;
    span->state = HAK_SPAN_FREE;
    hak_span_index_add(span);
}

static void every_length(void **state) {
    (void)state;
    for (uint64_t base = 1; base <= UINT32_MAX; base *= 2)
        for (int64_t delta = -1; delta <= 1; delta++) {
            uint64_t length = base + (uint64_t)delta;
            if (length == 0 || length > UINT32_MAX)
                continue;
            make_free(&spans[0], (uint32_t)length);
            hak_span_index_check();
            assert_ptr_equal(hak_span_index_find(KIND, (uint32_t)length), &spans[0]);
            assert_ptr_equal(hak_span_index_find(KIND, 1), &spans[0]);
            assert_null(hak_span_index_find(HAK_REGION_LARGE, 1));
            if (length < UINT32_MAX)
                assert_null(hak_span_index_find(KIND, (uint32_t)length + 1));
            hak_span_index_remove(&spans[0]);
            hak_span_index_check();
            assert_null(hak_span_index_find(KIND, 1));
        }
}

/* The shortest that is long enough; 0: none. */
static uint32_t shortest(const bool *in, uint32_t granules) {
    uint32_t best = 0;
    for (int i = 0; i < SPANS; i++)
        if (in[i] && spans[i].granules >= granules && (best == 0 || spans[i].granules < best))
            best = spans[i].granules;
    return best;
}

static void good_fit(void **state) {
    (void)state;
    static bool in[SPANS];
    memset(in, 0, sizeof in);
    uint64_t seed = 3;
    for (int step = 0; step < 20000; step++) {
        int i = (int)(unit_random(&seed) % SPANS);
        if (in[i])
            hak_span_index_remove(&spans[i]);
        else
            make_free(&spans[i],
                      1 + (uint32_t)(unit_random(&seed) % ((uint64_t)1 << (unit_random(&seed) % 20))));
        in[i] = !in[i];
        uint32_t want = 1 + (uint32_t)(unit_random(&seed) % ((uint64_t)1 << (unit_random(&seed) % 20)));
        const hak_span *found = hak_span_index_find(KIND, want);
        uint32_t best = shortest(in, want);
        if (found ==
            NULL) /* only a span that shares a list with shorter ones may be missed: an eighth too short a search */
            assert_true(best == 0 || best < want + want / 8 + 1);
        else
            assert_true(in[found - spans] && found->granules >= want);
        if (best >
            want + want / 4) /* beyond the two lists that may be crowded, the fit is within a list's width */
            assert_true(found != NULL && found->granules <= best + best / 8 + 1);
        if (step % 100 == 0)
            hak_span_index_check();
    }
}

/* Only a few spans of a list are looked at. They must not hide the spans of the next list, which
 * are an eighth longer. */
static void crowded(void **state) {
    (void)state;
    make_free(&spans[0], 150);
    for (int i = 1; i < 40; i++)
        make_free(&spans[i], 130);
    assert_ptr_equal(hak_span_index_find(KIND, 144), &spans[0]);
    assert_ptr_equal(hak_span_index_find(KIND, 140), &spans[0]);
    for (int i = 0; i < 40; i++)
        hak_span_index_remove(&spans[i]);
}

static void walk(void *unused) {
    (void)unused;
    hak_span_index_check();
}

static void corruption(void **state) {
    (void)state;
    make_free(&spans[0], 100);
    spans[0].granules = 1000;
    unit_expect_death(walk, NULL, "span in the wrong list");
    spans[0].granules = 100;
    spans[0].state = HAK_SPAN_LIVE;
    unit_expect_death(walk, NULL, "span in the wrong list");
    spans[0].state = HAK_SPAN_FREE;
    hak_span_index_remove(&spans[0]);
    hak_link *link = &spans[0].link;
    assert_null(link->next);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE("a span of every length is found for its length and not for one more", every_length),
        CASE("what is found is long enough, and little longer than the best", good_fit),
        CASE("spans of a little less do not hide one that is long enough", crowded),
        CASE("a span whose length or state was changed is found", corruption),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
