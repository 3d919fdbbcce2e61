/* odds.h: the two probability functions of the heap profile. libm has them, but the allocator must not need
 * libm. Layer 0. Pure functions, exact to nine digits. */
#ifndef HAK_ODDS_H
#define HAK_ODDS_H

#include "allocator/base/base.h"

/* An exponentially distributed number of mean 1, from 64 random bits: -ln of a number between 0 and 1. */
double hak_odds_gap(uint64_t random);

/* 1 - exp(-x), for x >= 0: the probability that such a number is at most x. */
double hak_odds_within(double x);

#endif
