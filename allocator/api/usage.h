/* usage.h: what is in use and what is free, as mallinfo(3) and its kin ask. Layer 5.
 *
 *   slabs  | with the program | caches, quarantine | free slots | free granules, perhaps resident |
 *            used               set_aside            rest ------------------------------------->|
 *   arena  |<----------------------------------------------------------------------------------->|
 *   large objects: live ones are counted apart, as glibc counts what it maps one by one; the pages of freed ones are
 *   `rest`.
 *
 * All figures are read one by one: they are exact while no other thread works. */
#ifndef HAK_USAGE_H
#define HAK_USAGE_H

#include "allocator/pages/size_class.h"

typedef struct hak_usage_part {
    size_t count, bytes;
} hak_usage_part;

typedef struct hak_usage {
    hak_usage_part used;        /* small objects, whole slots */
    hak_usage_part set_aside;   /* freed small objects that threads and the quarantine have */
    hak_usage_part rest;        /* free slots, and free granules of 64 KiB */
    hak_usage_part large;       /* live large objects, whole pages */
    hak_usage_part large_max;   /* most of them at once: the most objects, the most bytes */
    size_t arena, arena_max;    /* bytes from the OS that are no live large object's; now, and most so far */
    size_t releasable;          /* bytes that hak_trim would give back */
    uint32_t used_of[HAK_TAGS]; /* per class: objects of the program's */
    uint32_t free_of[HAK_TAGS]; /* per class: free slots, those set aside included */
} hak_usage;

/* Takes locks, one after the other; allocates nothing. Not async-signal-safe. */
void hak_usage_read(hak_usage *out);

/* For a process that exits, perhaps in a signal handler that has interrupted malloc: false when this thread may have
 * a lock that hak_usage_read takes, for it was not free for so many milliseconds. */
bool hak_usage_readable(unsigned patience);

/* Has the most so far raised where it is less than now: what large objects have, and the arena. No lock. Called when
 * a thread has got a large object, or has got memory from depots or given a large object's back. */
void hak_usage_note_large(void);
void hak_usage_note_arena(void);

#endif
