/* shadow.c: see shadow.h. */
#include "fuzz/shadow.h"

#include <string.h>

#include "include/hakmem.h"

/* Without instrumentation: a fuzzer is to look for new paths through the allocator, not through the model. */
#if defined(__clang__)
#pragma clang attribute push(__attribute__((no_sanitize("coverage"))), apply_to = function)
#endif

enum {
    BLOCK = 256,      /* bytes */
    WHOLE = 1024,     /* up to here every byte has the pattern; beyond, the first and the last two blocks, */
    SAMPLES = 8,      /* and about so many samples between, */
    SAMPLE = 8,       /* of so many bytes, */
    STEP = 64 * 1024, /* at multiples of this, or of a power of two of it */
    SCAN_ALL = 32 * 1024,  /* of a larger object calloc's zeros are checked in the first and last page, */
    SCAN_STEP = 16 * 1024, /* and between in a few bytes at multiples of this, where spans begin */
    PAGE = 4096,
    PAGE_PART = 64,
};

void shadow_init(shadow *model, const heap_api *heap) {
    memset(model, 0, sizeof *model);
    model->heap = heap;
}

/* The pattern. It depends on the byte's place, so that a shifted copy is found, and is never zero, so that a cleared
 * one is found: byte i is key + i + 31 (i / BLOCK), made odd. Each block is a piece of one ramp. */
static unsigned char ramp[2 * BLOCK];

__attribute__((constructor)) static void make_ramp(void) {
    for (unsigned i = 0; i < sizeof ramp; i++)
        ramp[i] = (unsigned char)i | 1;
}

/* The object's bytes from byte i, a multiple of BLOCK, on. */
static const unsigned char *pattern(const shadow_object *o, size_t i) {
    return ramp + (unsigned char)(o->key + i / BLOCK * 31);
}

/* The start of the last block but one of a big object: from there on all bytes have the pattern. */
static size_t tail(size_t extent) {
    return ((extent - 1) / BLOCK - 1) * BLOCK;
}

/* The next block with the pattern after byte i. In a small object every block has it; in a big one the first and the
 * last two, and a part of some between. A function of the size only. */
static size_t next_block(size_t extent, size_t i) {
    if (extent <= WHOLE || i >= tail(extent))
        return i + BLOCK;
    size_t step = STEP;
    while (extent / step > SAMPLES)
        step *= 2;
    size_t next = (i / step + 1) * step;
    return next < tail(extent) ? next : tail(extent);
}

/* How many bytes of the block at byte i have the pattern. */
static size_t part(size_t extent, size_t i) {
    bool between = extent > WHOLE && i != 0 && i < tail(extent);
    return between ? SAMPLE : extent - i < BLOCK ? extent - i : BLOCK;
}

void shadow_write(shadow *model, unsigned slot) {
    shadow_object *o = &model->objects[slot];
    if (o->at == NULL)
        return;
    o->key = model->next_key += 37;
    for (size_t i = 0; i < o->extent; i = next_block(o->extent, i))
        memcpy(o->at + i, pattern(o, i), part(o->extent, i));
}

const char *shadow_verify_prefix(const shadow *model, unsigned slot, const void *at, size_t size) {
    const shadow_object *o = &model->objects[slot];
    const unsigned char *bytes = at;
    for (size_t i = 0; i < o->extent && i < size; i = next_block(o->extent, i)) {
        size_t length = part(o->extent, i);
        if (memcmp(bytes + i, pattern(o, i), length < size - i ? length : size - i) != 0)
            return "the object's bytes have changed";
    }
    return NULL;
}

const char *shadow_verify(const shadow *model, unsigned slot) {
    const shadow_object *o = &model->objects[slot];
    return o->at == NULL ? NULL : shadow_verify_prefix(model, slot, o->at, o->extent);
}

const char *shadow_verify_all(const shadow *model) {
    const char *broken = NULL;
    for (unsigned i = 0; i < model->live && broken == NULL; i++)
        broken = shadow_verify(model, model->owner[i]);
    return broken;
}

const char *shadow_verify_zero(const void *at, size_t size) {
    static const unsigned char zeros[PAGE];
    for (size_t i = 0; i < size;) {
        bool whole = size <= SCAN_ALL || i < PAGE || i + PAGE >= size;
        size_t part = whole ? PAGE : PAGE_PART, next = i + (whole ? PAGE : SCAN_STEP);
        if (memcmp((const char *)at + i, zeros, part < size - i ? part : size - i) != 0)
            return "calloc gave a byte that is not zero";
        i = next < size || i + PAGE >= size ? next : size - PAGE;
    }
    return NULL;
}

/* The request, rounded up to a power of two as memalign does it. */
static size_t promised_alignment(const shadow_object *o) {
    size_t align = 16;
    while (align < o->alignment)
        align *= 2;
    return align;
}

/* A new object is aligned and disjoint from all others. */
static const char *verify_place(shadow *model, unsigned slot) {
    const shadow_object *o = &model->objects[slot];
    if ((uintptr_t)o->at % promised_alignment(o) != 0)
        return "the object is not aligned as it must be";
    uintptr_t first = (uintptr_t)o->at, last = first + (o->extent ? o->extent - 1 : 0);
    model->first[o->entry] = UINTPTR_MAX; /* it does not overlap itself */
    unsigned overlaps = 0;
    for (unsigned i = 0; i < model->live; i++)
        overlaps |= (model->first[i] <= last) & (first <= model->last[i]);
    model->first[o->entry] = first;
    model->last[o->entry] = last;
    return overlaps ? "the object overlaps another live object" : NULL;
}

static const char *verify_usable(const shadow *model, const shadow_object *o, size_t usable) {
    if (usable < o->size)
        return "the usable size is below what was asked for";
    if (model->heap->hardened && usable != o->size)
        return "the usable size of the hardened variant is not what was asked for";
    size_t room = model->heap->capacity(
        o->at); /* 0: a sampled object of the hardened variant, which no tag describes */
    if (room < usable && (room != 0 || !model->heap->hardened))
        return "the usable size is above the object's room";
    return NULL;
}

/* Gives the slot's object an entry in the arrays of live objects. */
static void enter(shadow *model, unsigned slot) {
    shadow_object *o = &model->objects[slot];
    o->entry = (uint8_t)model->live++;
    model->owner[o->entry] = (uint8_t)slot;
}

void shadow_adopt(shadow *model, unsigned slot, const shadow_object *object) {
    shadow_object *o = &model->objects[slot];
    *o = *object;
    enter(model, slot);
    model->first[o->entry] = (uintptr_t)o->at;
    model->last[o->entry] = (uintptr_t)o->at + (o->extent ? o->extent - 1 : 0);
}

const char *shadow_enter(shadow *model, unsigned slot, void *at, const ops_step *step) {
    shadow_object *o = &model->objects[slot];
    if (o->at == NULL)
        enter(model, slot);
    o->at = at;
    o->size = step->count * step->size;
    o->alignment = step->alignment;
    o->large = model->heap->is_large(at);
    o->extent = model->heap->usable_size(at);
    const char *broken = verify_usable(model, o, o->extent);
    if (broken == NULL)
        broken = verify_place(model, slot);
    if (broken == NULL)
        shadow_write(model, slot);
    return broken;
}

void shadow_leave(shadow *model, unsigned slot) {
    shadow_object *o = &model->objects[slot];
    if (o->at != NULL) { /* the last entry takes its place */
        unsigned end = --model->live;
        model->first[o->entry] = model->first[end];
        model->last[o->entry] = model->last[end];
        model->owner[o->entry] = model->owner[end];
        model->objects[model->owner[end]].entry = o->entry;
    }
    *o = (shadow_object){.ghost = o->at, .ghost_size = o->size};
}

const char *shadow_verify_usable(const shadow *model, unsigned slot) {
    const shadow_object *o = &model->objects[slot];
    size_t usable = model->heap->usable_size(o->at);
    if (o->at == NULL)
        return usable == 0 ? NULL : "the usable size of NULL is not 0";
    return usable == o->extent ? verify_usable(model, o, usable) : "the usable size has changed";
}

const char *shadow_verify_stats(const shadow *model) {
    hak_stats now;
    model->heap->stats_read(&now);
    size_t large = 0, slab = 0, counted = 0;
    for (unsigned i = 0; i < model->live; i++) {
        const shadow_object *o = &model->objects[model->owner[i]];
        size_t capacity = model->heap->capacity(o->at);
        *(o->large ? &large : &slab) += capacity;
        counted += capacity != 0;
    }
    if (now.live_objects < counted)
        return "statistics: fewer live objects than the program holds";
    if (now.live_large_bytes < large || (!model->heap->hardened && now.live_large_bytes != large))
        return "statistics: live_large_bytes is not what the program holds";
    if (now.live_slab_bytes < slab)
        return "statistics: live_slab_bytes is less than what the program holds";
    if (now.committed_bytes > now.mapped_bytes || now.metadata_bytes > now.committed_bytes ||
        now.live_slab_bytes + now.live_large_bytes + now.free_dirty_bytes > now.committed_bytes)
        return "statistics: the parts are more than the whole";
    return NULL;
}

#if defined(__clang__)
#pragma clang attribute pop
#endif
