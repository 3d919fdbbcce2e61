/* odds.c: see odds.h. */
#include "allocator/base/odds.h"

static const double LN2 = 0.69314718055994530942, SQRT2 = 1.41421356237309504880;

/* ln((1+t)/(1-t)) = 2 (t + t^3/3 + t^5/5 + ..), |t| < 0.172. */
static double ln_near_one(double m) {
    double t = (m - 1) / (m + 1), t2 = t * t;
    return 2 * t * (1 + t2 * (1.0 / 3 + t2 * (1.0 / 5 + t2 * (1.0 / 7 + t2 * (1.0 / 9 + t2 / 11)))));
}

double hak_odds_gap(uint64_t random) {
    random |= 1; /* never 0, whose logarithm is infinite */
    int zeros = __builtin_clzll(random);
    double m = (double)(random << zeros) * 0x1p-63; /* 1 to 2: the number is m / 2^(zeros + 1) */
    int halvings = zeros + 1;
    if (m > SQRT2) {
        m /= 2;
        halvings--;
    }
    double gap = halvings * LN2 - ln_near_one(m);
    return gap > 0 ? gap : 0;
}

/* Halves x until a short series is exact enough, then doubles: 1 - e^-2x = w (2 - w) for w = 1 - e^-x. */
double hak_odds_within(double x) {
    if (x > 64)
        return 1;
    int halvings = 0;
    for (; x > 1.0 / 16; x /= 2)
        halvings++;
    double within = x * (1 - x / 2 * (1 - x / 3 * (1 - x / 4 * (1 - x / 5 * (1 - x / 6)))));
    for (; halvings > 0; halvings--)
        within *= 2 - within;
    return within;
}
