/* crowd.h: threads that make, resize and end objects of every size and give them to each other, until they are told
 * to stop. For tests of other things that happen at the same time. */
#ifndef HAK_TESTS_CROWD_H
#define HAK_TESTS_CROWD_H

#include <stdint.h>

enum { CROWD_MOST = 16 };

/* Each thread lives for some thousand steps, then another one takes its place. One crowd at a time. */
void crowd_start(unsigned threads);

/* Waits until all of them have ended and every object was freed. */
void crowd_stop(void);

/* Runs so many steps of one thread of a crowd, in the calling thread. */
void crowd_work(uint64_t seed, unsigned steps);

/* A pseudo-random number, the same sequence for the same seed. */
uint64_t crowd_draw(uint64_t *seed);

#endif
