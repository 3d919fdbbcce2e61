/* objects.h: large objects as the unit tests of heap/large.h use them, with a pattern that the tests verify. */
#ifndef HAK_TESTS_OBJECTS_H
#define HAK_TESTS_OBJECTS_H

#include "tests/unit/unit.h"

typedef struct object {
    unsigned char *at;
    size_t size, capacity; /* bytes: requested, and usable */
    unsigned char mark;    /* of the pattern */
} object;

/* Writes a new mark into each page of 4 KiB and into the last byte. The old marks up to `size` bytes must be there. */
void object_paint(object *it);
void object_expect(const object *it, size_t size);

/* hak_large_take, _give and _resize; each verifies everything that the call promises. A resize may be refused. */
void object_take(object *it, size_t size, size_t align);
void object_give(object *it);
void object_resize(object *it, size_t size);

#endif
