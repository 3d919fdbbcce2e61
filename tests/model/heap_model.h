/* heap_model.h: a plain model of a heap, and the random walk that checks an allocator against it.
 *
 * The model knows of each live object its address, size and byte pattern, in one flat array that is searched from
 * end to end: nothing in it can be wrong in the way an allocator is. Single-threaded; needs no lock. */
#ifndef HAK_TESTS_HEAP_MODEL_H
#define HAK_TESTS_HEAP_MODEL_H

#include <stddef.h>
#include <stdint.h>

/* What a walk does. Sizes are drawn so that each power of two up to max_size is as likely as another. */
typedef struct heap_walk {
    const char *name;
    size_t max_size;     /* bytes */
    unsigned operations; /* how many */
    unsigned slots;      /* most objects alive at once */
} heap_walk;

/* Runs the walk that `seed` gives. Returns 0 when all held; else a complaint, with the operation's number, is on
 * stderr. */
int heap_model_run(const heap_walk *walk, uint64_t seed);

#endif
