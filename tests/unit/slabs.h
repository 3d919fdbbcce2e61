/* slabs.h: slabs as the unit tests of pages/superslab.h use them. */
#ifndef HAK_TESTS_SLABS_H
#define HAK_TESTS_SLABS_H

#include "tests/unit/unit.h"

#include "allocator/pages/superslab.h"

/* Returns a class whose slabs have `granules` granules. */
unsigned slab_class_with(unsigned granules);

/* A class of wide slots: 160 KiB. */
unsigned slab_wide_class(void);

/* Mapped bytes of a slab. */
size_t slab_mapped_bytes(const hak_slab *slab);

/* Writes `byte` to a slab: to all of it, or to the part that is mapped. */
void slab_touch(const hak_slab *slab, int byte);

/* Demands that the slab was just taken for `cls` and `shard`. */
void slab_expect(const hak_slab *slab, unsigned cls, unsigned shard);

/* Takes and touches `count` slabs of the class. Returns their number. */
unsigned slabs_take(hak_slab **slabs, unsigned count, unsigned cls);

#endif
