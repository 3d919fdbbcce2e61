/* shadow.h: what a program knows of its objects, kept apart from the allocator, and the rules that an allocator must
 * obey.
 *
 * Flat arrays, searched from end to end: so the model cannot be wrong in the ways in which an allocator is. In a
 * small object every usable byte holds its pattern; in a big one both ends and some bytes between, so that an
 * input's time is bounded. Each function that verifies returns NULL, or the rule that was broken. No lock: a shadow
 * belongs to one thread at a time. */
#ifndef FUZZ_SHADOW_H
#define FUZZ_SHADOW_H

#include "fuzz/heap_api.h"
#include "fuzz/ops.h"

typedef struct shadow_object {
    unsigned char *at; /* NULL: the slot is empty */
    size_t size;       /* as requested */
    size_t alignment;  /* as requested; 0: none */
    size_t extent;     /* bytes that hold the pattern: all that are usable */
    unsigned char key; /* of the pattern */
    bool large;
    uint8_t entry; /* of the model's arrays of live objects */
    void *ghost;   /* the slot's former object, for errors; NULL: none */
    size_t ghost_size;
} shadow_object;

typedef struct shadow {
    const heap_api *heap;
    uint8_t next_key;
    unsigned live; /* objects; the arrays below have so many entries, in no order */
    uintptr_t first[OPS_SLOTS], last[OPS_SLOTS]; /* the bytes, both ends included */
    uint8_t owner[OPS_SLOTS];                    /* the slot */
    shadow_object objects[OPS_SLOTS];
} shadow;

void shadow_init(shadow *model, const heap_api *heap);

/* Enters the object at `at` into the slot (the step's call has just made or resized it) and writes its pattern. */
const char *shadow_enter(shadow *model, unsigned slot, void *at, const ops_step *step);

/* Takes over another model's object into an empty slot. */
void shadow_adopt(shadow *model, unsigned slot, const shadow_object *object);

/* The object has been freed. */
void shadow_leave(shadow *model, unsigned slot);

/* Writes a new pattern. */
void shadow_write(shadow *model, unsigned slot);

/* Verifies that the object's bytes are as they were written. */
const char *shadow_verify(const shadow *model, unsigned slot);
const char *shadow_verify_all(const shadow *model);

/* Verifies that the first `size` bytes at `at` are those of the slot's object; also when it has moved to `at`. */
const char *shadow_verify_prefix(const shadow *model, unsigned slot, const void *at, size_t size);

/* Verifies that the `size` bytes at `at` are zero. Checks every byte up to 32 KiB, beyond that both ends and between
 * every place where the pattern of an earlier object may have been. */
const char *shadow_verify_zero(const void *at, size_t size);

/* Verifies usable_size of the slot's object. */
const char *shadow_verify_usable(const shadow *model, unsigned slot);

/* Verifies that the statistics are possible, given the program's objects. */
const char *shadow_verify_stats(const shadow *model);

#endif
