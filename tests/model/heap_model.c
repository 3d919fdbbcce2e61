/* heap_model.c: the random walk against the model; see heap_model.h. */
#include "tests/model/heap_model.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "include/hakmem.h"

enum { SLOTS_MAX = 512, WHOLE = 65536, PAGE = 4096, ALIGN_SHIFT_MAX = 21 };

typedef struct object {
    unsigned char *at; /* NULL: the slot is empty */
    size_t size;
    size_t alignment;  /* 0: not from an aligned call */
    unsigned char key; /* the pattern */
} object;

static struct {
    object slots[SLOTS_MAX];
    const heap_walk *walk;
    uint64_t random;
    unsigned step;
} model;

static uint64_t draw(void) { /* splitmix64 */
    uint64_t z = model.random += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static size_t draw_size(void) {
    size_t bound = model.walk->max_size >> draw() % (64 - __builtin_clzl(model.walk->max_size));
    return draw() % (bound + 1);
}

static bool fail(const object *o, const char *what) {
    fprintf(stderr, "step %u, %s: object %p of %zu bytes (alignment %zu): %s\n", model.step, model.walk->name,
            (void *)o->at, o->size, o->alignment, what);
    return false;
}

/* The pattern depends on the byte's place, so that a shifted copy is found. */
static unsigned char pattern(const object *o, size_t i) {
    return (unsigned char)(o->key + i + (i >> 8) * 31);
}

/* Large objects are written and read at both ends and once per page. */
static size_t next_byte(const object *o, size_t i) {
    bool at_the_ends = i < PAGE || i + PAGE >= o->size;
    return o->size <= WHOLE || at_the_ends || i + 2 * PAGE >= o->size ? i + 1 : i + PAGE;
}

static void fill(object *o) {
    o->key = (unsigned char)draw();
    for (size_t i = 0; i < o->size; i = next_byte(o, i))
        o->at[i] = pattern(o, i);
}

/* Whether the first `size` bytes at `at` are those of `o`. */
static bool holds(const object *o, const unsigned char *at, size_t size) {
    for (size_t i = 0; i < size; i = next_byte(o, i))
        if (at[i] != pattern(o, i))
            return fail(o, "its bytes have changed");
    return true;
}

static bool is_zero(const object *o) {
    for (size_t i = 0; i < o->size; i = next_byte(o, i))
        if (o->at[i] != 0)
            return fail(o, "calloc gave a byte that is not zero");
    return true;
}

/* A new object, not yet entered into the model, is disjoint from all live ones, aligned and large enough. */
static bool is_sound(const object *o) {
    if (!o->at)
        return fail(o, "no memory");
    if ((uintptr_t)o->at % (o->alignment > 16 ? o->alignment : 16) != 0)
        return fail(o, "misaligned");
    if (hak_usable_size(o->at) < o->size)
        return fail(o, "usable size below the request");
    for (unsigned i = 0; i < model.walk->slots; i++) {
        const object *other = &model.slots[i];
        if (other->at && other != o && o->at < other->at + (other->size ? other->size : 1) &&
            other->at < o->at + (o->size ? o->size : 1))
            return fail(o, "overlaps another live object");
    }
    return true;
}

static bool make(object *o) {
    unsigned how = draw() % 8;
    *o = (object){.size = draw_size()};
    if (how < 4)
        o->at = hak_malloc(o->size);
    else if (how == 4)
        o->at = hak_calloc(o->size, 1);
    else if (how == 5)
        o->at = hak_realloc(NULL, o->size);
    else {
        o->alignment = (size_t)8 << draw() % (draw() % 8 ? 10 : ALIGN_SHIFT_MAX - 2);
        if (how == 6)
            o->at = hak_aligned_alloc(o->alignment, o->size);
        else if (hak_posix_memalign((void **)&o->at, o->alignment, o->size) != 0)
            o->at = NULL;
    }
    if (!is_sound(o) || (how == 4 && !is_zero(o)))
        return false;
    fill(o);
    return true;
}

static bool resize(object *o) {
    object old = *o;
    size_t size = 1 + (draw() % 4 ? draw_size() : old.size + draw() % 64);
    o->at = hak_realloc(old.at, size);
    o->size = size;
    o->alignment = 0;
    if (!is_sound(o) || !holds(&old, o->at, size < old.size ? size : old.size))
        return false;
    fill(o);
    return true;
}

static bool end(object *o) {
    if (!holds(o, o->at, o->size))
        return false;
    errno = 77;
    if (draw() % 4)
        hak_free(o->at);
    else if (o->alignment)
        hak_free_aligned_sized(o->at, o->alignment, o->size);
    else
        hak_free_sized(o->at, o->size);
    if (errno != 77)
        return fail(o, "free changed errno");
    o->at = NULL;
    return true;
}

static bool refuse(const object *o) {
    size_t usable = hak_usable_size(o->at);
    volatile size_t impossible = (size_t)PTRDIFF_MAX + draw() % 4096;
    errno = 0;
    if (hak_realloc(o->at, impossible) || errno != ENOMEM)
        return fail(o, "an impossible realloc was not refused with ENOMEM");
    return hak_usable_size(o->at) == usable || fail(o, "a refused realloc changed the usable size");
}

static bool step(void) {
    object *o = &model.slots[draw() % model.walk->slots];
    unsigned what = draw() % 16;
    if (!o->at)
        return make(o);
    if (what < 9)
        return end(o);
    if (what < 14)
        return resize(o);
    if (what == 14)
        return refuse(o) && holds(o, o->at, o->size);
    hak_trim(draw() % 2 ? 0 : 1 << 20);
    return holds(o, o->at, o->size);
}

int heap_model_run(const heap_walk *walk, uint64_t seed) {
    memset(&model, 0, sizeof model);
    model.walk = walk;
    model.random = seed;
    for (; model.step < walk->operations; model.step++)
        if (!step())
            return 1;
    for (unsigned i = 0; i < walk->slots; i++)
        if (model.slots[i].at && !end(&model.slots[i]))
            return 1;
    return 0;
}
