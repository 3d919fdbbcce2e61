/* heap_model.h: a plain model of a heap, and the random walk that checks an allocator against it.
 *
 * The model holds the address, size and byte pattern of each live object in one flat array, which is searched from
 * end to end: so the model cannot be wrong in the ways in which an allocator is. Single-threaded; needs no lock. */
#ifndef HAK_TESTS_HEAP_MODEL_H
#define HAK_TESTS_HEAP_MODEL_H

#include <stddef.h>
#include <stdint.h>

/* The parameters of a walk. Each power of two up to max_size is equally likely as a size. */
typedef struct heap_walk {
    const char *name;
    size_t max_size;     /* bytes */
    unsigned operations; /* how many */
    unsigned slots;      /* most objects alive at once */
} heap_walk;

/* Runs the walk that `seed` gives. Returns 0 when all checks held; otherwise a message with the operation's number
 * is on stderr. */
int heap_model_run(const heap_walk *walk, uint64_t seed);

#endif
