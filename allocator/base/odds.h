/* odds.h: the two functions by which the heap profile draws: what libm has, for libm is not ours to need. Layer 0.
 * Pure; right to nine digits. */
#ifndef HAK_ODDS_H
#define HAK_ODDS_H

#include "allocator/base/base.h"

/* An exponentially distributed number of mean 1, from 64 random bits: -ln of a number between 0 and 1. */
double hak_odds_gap(uint64_t random);

/* 1 - exp(-x), for x >= 0: how likely one comes within x. */
double hak_odds_within(double x);

#endif
