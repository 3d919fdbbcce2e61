/* extent.h: a piece of address space that begins somewhere and grows at its end. Layer 1.
 *
 *   |#### mapped ####|...... room: nothing is mapped, nobody else is likely to map ......|
 *   start            start + mapped                                                     start + room
 *
 * What the kernel counts (RLIMIT_AS, RLIMIT_DATA, locked memory, overcommit, a core file) is what is mapped: nothing is
 * reserved. The start is drawn at random, far from where the kernel puts mappings for which nobody asked for an
 * address, and so that the rooms of two extents never overlap. Somebody may map there all the same: then the extent
 * cannot grow, and the caller begins another one. Where no address can be chosen (a sanitizer has the address space),
 * the room is reserved as one mapping, as large as can be had.
 *
 * Guarded by the region lock; the first ones are made under the init lock, before any other thread can be here. */
#ifndef HAK_EXTENT_H
#define HAK_EXTENT_H

#include "allocator/os/os.h"

typedef struct hak_extent {
    uintptr_t start; /* 0: not in use */
    size_t room;     /* bytes that it may grow to */
    size_t mapped;   /* bytes from the start that can be read and written, but for what was hollowed */
    bool reserved;   /* the room is a mapping of ours */
} hak_extent;

/* An address from which `room` bytes are nobody's, at a multiple of `align`; nothing is mapped. 0: none was found. */
uintptr_t hak_extent_claim(size_t room, size_t align);
void hak_extent_unclaim(uintptr_t start);

/* Begins an extent with `first` bytes mapped, 0: none, and room for `room`, or as much as the address space lets one
 * have. `first` and `align` are multiples of the page. False when the OS refuses, and nothing has changed. */
bool hak_extent_begin(hak_extent *extent, size_t room, size_t first, size_t align);

/* Maps up to byte `end`; false when there is no room or the OS refuses, and nothing has changed. */
bool hak_extent_grow(hak_extent *extent, size_t end);

/* Takes the memory of a part away, but not its addresses: it is not mapped any more. False when the OS refuses, and
 * nothing has changed. */
bool hak_extent_hollow(const hak_extent *extent, uintptr_t addr, size_t size);

/* Brings it back, zeroed. HAK_MAP_TAKEN: somebody else has mapped there meanwhile, and the part is not ours any
 * more. When it is not done, nothing has changed. */
hak_map_result hak_extent_fill(const hak_extent *extent, uintptr_t addr, size_t size);

/* Gives all of it back. */
void hak_extent_end(hak_extent *extent);

#endif
