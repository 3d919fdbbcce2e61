/* odds_test.c: the logarithm and the exponential with which the heap profile draws. */
#include "tests/unit/unit.h"

#include "allocator/base/odds.h"

#include <math.h>

static void want_near(double found, double wanted) {
    if (fabs(found - wanted) > 1e-8 * fabs(wanted) + 1e-15)
        fail_msg("%.17g, not %.17g", found, wanted);
}

static void gap_is_a_logarithm(void **state) {
    (void)state;
    uint64_t random = 1;
    for (int i = 0; i < 100000; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        uint64_t drawn = (random >> (i % 64)) | 1;
        double wanted = -log((double)drawn * 0x1p-64);
        if (wanted > 1e-3) /* nearer to 1 the number itself is not exact */
            want_near(hak_odds_gap(drawn), wanted);
    }
    want_near(hak_odds_gap(0), 64 * log(2));
    assert_true(hak_odds_gap(UINT64_MAX) >= 0 && hak_odds_gap(UINT64_MAX) < 1e-9);
}

static void within_is_an_exponential(void **state) {
    (void)state;
    want_near(hak_odds_within(0), 0);
    for (double x = 1e-9; x < 100; x *= 1.1)
        want_near(hak_odds_within(x), -expm1(-x));
    assert_true(hak_odds_within(1e30) == 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE("a gap is the logarithm of a random number, for each number", gap_is_a_logarithm),
        CASE("how likely one comes is an exponential", within_is_an_exponential),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
