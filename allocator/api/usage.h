/* usage.h: how much memory is in use and how much is free, for mallinfo(3) and similar calls. Layer 5.
 *
 *   slabs  | with the program | caches, quarantine | free slots | free granules, perhaps resident |
 *            used               set_aside            rest ------------------------------------->|
 *   arena  |<----------------------------------------------------------------------------------->|
 *   large objects: live ones are counted apart, as glibc counts what it maps one by one; the pages of freed ones are
 *   `rest`.
 *
 * Figures are read one by one, so they are exact only while no other thread runs. */
#ifndef HAK_USAGE_H
#define HAK_USAGE_H

#include "allocator/pages/size_class.h"

typedef struct hak_usage_part {
    size_t count, bytes;
} hak_usage_part;

typedef struct hak_usage {
    hak_usage_part used;        /* small objects, whole slots */
    hak_usage_part set_aside;   /* freed small objects in caches and in the quarantine */
    hak_usage_part rest;        /* free slots, and free granules of 64 KiB */
    hak_usage_part large;       /* live large objects, whole pages */
    hak_usage_part large_max;   /* high-water marks: most objects, most bytes */
    size_t arena, arena_max;    /* bytes from the OS outside live large objects; now, and at most so far */
    size_t releasable;          /* bytes that hak_trim can give back */
    uint32_t used_of[HAK_TAGS]; /* per class: live objects */
    uint32_t free_of[HAK_TAGS]; /* per class: free slots, `set_aside` included */
} hak_usage;

/* Reads all figures. Takes locks one after the other, allocates nothing. Not async-signal-safe. */
void hak_usage_read(hak_usage *out);

/* For a process that exits, perhaps in a signal handler that interrupted malloc. Waits up to `patience`
 * milliseconds for the locks that hak_usage_read takes. False: one of them was not free in that time, so this
 * thread may hold it. */
bool hak_usage_readable(unsigned patience);

/* Update the high-water marks of large objects and of the arena. Take no lock. Called after a thread has got a
 * large object, and after it has got memory from depots or has given back a large object. */
void hak_usage_note_large(void);
void hak_usage_note_arena(void);

#endif
