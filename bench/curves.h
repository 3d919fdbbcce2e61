/* curves.h: programs that attack an allocator, and count the calls that they need. What the files of the program
 * `curves` share; lab_curves.py runs it many times, and README.md says what each attack is.
 *
 * The attacker knows at once when he has won, because he compares addresses; nothing is read or written through a
 * stale pointer. He does not know the allocator's random numbers. A run ends after `limit` calls. Not thread-safe: one
 * attack a process. */
#ifndef HAK_BENCH_CURVES_H
#define HAK_BENCH_CURVES_H

#include "bench/bench_util.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the command line says. */
typedef struct curves_attack {
    size_t size;       /* of the attacked object and of those that the attacker makes, in bytes */
    size_t align;      /* of all of them, by aligned_alloc; 0: malloc */
    const char *place; /* of the free: "main", "first", "last", "destructor" */
    const char *by;  /* who goes on after the free: "self", or "main", when the thread that freed has ended */
    const char *way; /* how he goes on: "pairs", "keep", "retry", or a predictor's name */
    const char *drain; /* what others do after the free: "none", "classes", "threads", "large", "huge" */
    long before;       /* frees of the size that he has prepared and that come first */
    long limit;        /* calls; the answer is then "more" */
    long busy;         /* threads of the process that malloc and free all sizes all the time */
} curves_attack;

/* The attacks: calls until he won; CURVES_MORE if not within the limit. */
enum { CURVES_MORE = -1 };
long curves_reclaim(const curves_attack *attack);
long curves_adjacent(const curves_attack *attack);
long curves_forge(const curves_attack *attack);
/* An address instead of calls. */
long curves_base(const curves_attack *attack);

/* Not counted: an object of the attack's size and alignment. Ends the program when there is no memory. */
void *curves_make(const curves_attack *attack);

/* True when objects of `size` bytes at these addresses have a byte in common. */
static inline bool curves_overlap(uintptr_t one, size_t one_size, uintptr_t other, size_t other_size) {
    return one < other + other_size && other < one + one_size;
}

/* What others do (curves_others.c). */

/* Makes and frees objects of all sizes but those near the attack's, or from all threads, or large ones, as
 * attack->drain says. Returns true when one of this thread's lay where `stale` was. */
bool curves_drain(const curves_attack *attack, uintptr_t stale);

/* Starts so many threads that malloc and free all sizes, 16 bytes to 4 MiB, until the process ends. */
void curves_busy_start(long threads);

#endif /* HAK_BENCH_CURVES_H */
