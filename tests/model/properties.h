/* properties.h: statements that hold for every program, each with a generator of programs that could break it.
 *
 * Programs are those of the operation language (fuzz/ops.h). A property is checked on many of them; a program that
 * fails is made as small as possible and printed. Cases run in a child process, so that a crash of the allocator is
 * a failure like any other. */
#ifndef HAK_TESTS_PROPERTIES_H
#define HAK_TESTS_PROPERTIES_H

#include "fuzz/play.h"

enum { PROPERTY_ROOM = 4096 }; /* most bytes of a program */

typedef struct property {
    const char *text;
    /* Writes the program that `seed` gives; returns its bytes. */
    size_t (*generate)(uint8_t bytes[PROPERTY_ROOM], uint64_t seed);
    /* The rule that the program breaks on the heap; NULL for none. Deterministic. */
    const char *(*verify)(const heap_api *heap, const uint8_t *bytes, size_t length);
    unsigned dear; /* a program costs so many times as much as others, so fewer are run; 0: as others */
} property;

extern const property properties[];
extern const unsigned properties_count;

/* Checks the property on programs `first` to `first` + `cases` - 1. Returns 0 when it held; otherwise the smallest
 * failing program and the rule that it breaks are on stderr. */
int property_check(const property *p, const heap_api *heap, uint64_t first, unsigned cases);

/* Makes a failing program smaller, in place; returns the new length. `tries`: the most runs it may cost. */
size_t property_shrink(const property *p, const heap_api *heap, uint8_t *bytes, size_t length,
                       unsigned tries);

#endif
