/* objects.h: large objects as the unit tests of heap/large.h use them, with a pattern that is looked at again. */
#ifndef HAK_TESTS_OBJECTS_H
#define HAK_TESTS_OBJECTS_H

#include "tests/unit/unit.h"

typedef struct object {
    unsigned char *at;
    size_t size, capacity; /* bytes: as asked for, and what there is */
    unsigned char mark;    /* of the pattern */
} object;

/* Writes a new mark into each page of 4 KiB and the last byte; demands that those up to `size` bytes are there. */
void object_paint(object *it);
void object_expect(const object *it, size_t size);

/* hak_large_take, _give and _resize, with all that they promise demanded. A resize may be refused. */
void object_take(object *it, size_t size, size_t align);
void object_give(object *it);
void object_resize(object *it, size_t size);

#endif
