/* extent.h: a piece of address space that has a start and grows at its end. Layer 1.
 *
 *   |#### mapped ####|...... room: not mapped, and other code is unlikely to map here ..|
 *   start            start + mapped                                                     start + room
 *
 * The kernel counts mapped memory (RLIMIT_AS, RLIMIT_DATA, locked memory, overcommit, core files), so nothing
 * is reserved ahead. The start is drawn at random, far from where the kernel puts mappings without a requested
 * address, and such that the rooms of two extents never overlap. If other code maps memory in the room all the
 * same, the extent cannot grow, and the caller begins another one. Where no address can be chosen (a sanitizer
 * owns the address space), the room is reserved as one mapping, as large as the OS allows.
 *
 * Guarded by the region lock. The first extents are made under the init lock, before any other thread can be
 * here. */
#ifndef HAK_EXTENT_H
#define HAK_EXTENT_H

#include "allocator/os/os.h"

typedef struct hak_extent {
    uintptr_t start; /* 0: not in use */
    size_t room;     /* bytes that it may grow to */
    size_t mapped;   /* readable and writable bytes from the start, hollow parts excepted */
    bool reserved;   /* the room is a mapping of ours */
} hak_extent;

/* Claims an address, aligned to `align`, with `room` unused bytes; maps nothing. 0: none was found. */
uintptr_t hak_extent_claim(size_t room, size_t align);
void hak_extent_unclaim(uintptr_t start);

/* Begins an extent with `first` bytes mapped (may be 0) and room for `room` bytes, or for as many as the
 * address space has. `first` and `align` are multiples of the page. False: the OS refused, and nothing has
 * changed. */
bool hak_extent_begin(hak_extent *extent, size_t room, size_t first, size_t align);

/* Maps up to byte `end`. False: no room, or the OS refused; nothing has changed. */
bool hak_extent_grow(hak_extent *extent, size_t end);

/* Unmaps a part; its addresses stay claimed. False: the OS refused, and nothing has changed. */
bool hak_extent_hollow(const hak_extent *extent, uintptr_t addr, size_t size);

/* Maps a hollow part again, zeroed. HAK_MAP_TAKEN: other code has mapped memory there, and the part is lost.
 * Unless the result is HAK_MAP_DONE, nothing has changed. */
hak_map_result hak_extent_fill(const hak_extent *extent, uintptr_t addr, size_t size);

/* Unmaps the extent and gives up its addresses. */
void hak_extent_end(hak_extent *extent);

#endif
