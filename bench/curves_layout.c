/* curves_layout.c: what an attacker can tell about places and canaries: two objects in a row, what lies between an
 * object and the next, base addresses; curves.h has the contract. */
#include "bench/curves.h"

#include <stdlib.h>
#include <string.h>

enum {
    OBJECTS = 4096,
    HASH_BITS = 14,
    HASH = 1 << HASH_BITS, /* places, several for each object */
    GAP_MOST = 2048,       /* bytes of a gap that are compared */
    WORDS_MOST = GAP_MOST / 8,
    ADDRESS_BITS = 48,
};

/* Calls until he holds two objects, made one after the other, of which the second lies right behind the first: so near
 * that no third one fits between. "keep": each is compared with the one before; "retry": both are freed again. */
long curves_adjacent(const curves_attack *attack) {
    bool keeps = strcmp(attack->way, "keep") == 0;
    curves_busy_start(attack->busy);
    void *before = NULL;
    for (long calls = 1; calls <= attack->limit; calls++) {
        void *obj = curves_make(attack);
        uintptr_t one = (uintptr_t)before, other = (uintptr_t)obj;
        if (before != NULL && other > one && other - one < 2 * attack->size)
            return calls;
        if (!keeps && before != NULL) {
            free(before);
            free(obj);
            calls += 2;
            obj = NULL;
        }
        before = obj;
    }
    return CURVES_MORE;
}

/* The attack on gaps: an overflow that reaches the next object has to write all bytes between the two as they are.
 * The attacker has read the gaps of some objects, whose addresses he knows, and tells that of another. */
typedef struct gap {
    uintptr_t object;
    uint64_t words[WORDS_MOST];
} gap;

typedef struct knowledge {
    const gap *gaps; /* in the order in which their objects were made; the first `known` ones are leaked */
    long known;
    long *numbers; /* of HASH: number + 1 of the gap of the object whose address has this hash */
    size_t words;  /* of each gap */
} knowledge;

static long number_of(const knowledge *the, uintptr_t object, long *place) {
    size_t at = object * 0x9E3779B97F4A7C15u >> (64 - HASH_BITS);
    while (the->numbers[at] != 0 && the->gaps[the->numbers[at] - 1].object != object)
        at = (at + 1) % HASH;
    *place = (long)at;
    return the->numbers[at] - 1;
}

/* The leaked gap of this object; NULL: not leaked. */
static const gap *leaked(const knowledge *the, uintptr_t object) {
    long place, number = number_of(the, object, &place);
    return number >= 0 ? &the->gaps[number] : NULL;
}

static const gap *nearest(const knowledge *the, uintptr_t object) {
    const gap *best = &the->gaps[0];
    for (long i = 1; i < the->known; i++) {
        uintptr_t old = best->object > object ? best->object - object : object - best->object;
        uintptr_t now = the->gaps[i].object;
        now = now > object ? now - object : object - now;
        best = now < old ? &the->gaps[i] : best;
    }
    return best;
}

/* The same bytes as behind the nearest object: right where canaries are constants of a process, thread or slab. */
static bool by_copy(const knowledge *the, const gap *target, uint64_t *words) {
    memcpy(words, nearest(the, target->object)->words, the->words * 8);
    return true;
}

/* What changes from one object to another changes in the same way between two others at the same distance: right where
 * canaries are sums or products of the address. */
static bool by_sum(const knowledge *the, const gap *target, uint64_t *words) {
    const gap *near = nearest(the, target->object);
    for (long i = 0; i < the->known; i++) {
        const gap *one = &the->gaps[i], *other = leaked(the, one->object + (target->object - near->object));
        if (other == NULL)
            continue;
        for (size_t w = 0; w < the->words; w++)
            words[w] = near->words[w] + (other->words[w] - one->words[w]);
        return true;
    }
    return false;
}

/* Each bit is an exclusive or of bits of the address, of the next object's address, and a constant: right where
 * canaries are made by xor, shifts or a CRC. `basis`: leaked ones, reduced, by their highest bit. */
typedef unsigned __int128 vector;
static struct {
    vector address;
    uint64_t words[WORDS_MOST];
} basis[2 * ADDRESS_BITS + 1];

static vector vector_of(uintptr_t object, uintptr_t stride) {
    const uintptr_t mask = ((uintptr_t)1 << ADDRESS_BITS) - 1;
    return (vector)1 | (vector)(object & mask) << 1 |
           (vector)((object + stride) & mask) << (1 + ADDRESS_BITS);
}

/* Takes away what the basis explains. Returns the index of the highest bit that is left, -1: nothing is. */
static int reduce(vector *address, uint64_t *words, size_t count) {
    for (int bit = 2 * ADDRESS_BITS; bit >= 0; bit--) {
        if ((*address >> bit & 1) == 0)
            continue;
        if (basis[bit].address == 0)
            return bit;
        *address ^= basis[bit].address;
        for (size_t w = 0; w < count; w++)
            words[w] ^= basis[bit].words[w];
    }
    return -1;
}

static void learn(const knowledge *the, const gap *leak, uintptr_t stride) {
    vector address = vector_of(leak->object, stride);
    uint64_t words[WORDS_MOST];
    memcpy(words, leak->words, sizeof words);
    int bit = reduce(&address, words, the->words);
    if (bit >= 0) {
        basis[bit].address = address;
        memcpy(basis[bit].words, words, sizeof words);
    }
}

static bool by_xor(const knowledge *the, const gap *target, uintptr_t stride, uint64_t *words) {
    vector address = vector_of(target->object, stride);
    memset(words, 0, the->words * 8);
    return reduce(&address, words, the->words) < 0;
}

static int by_address(const void *one, const void *other) {
    uintptr_t a = *(const uintptr_t *)one, b = *(const uintptr_t *)other;
    return (a > b) - (a < b);
}

/* The least distance between two of the objects. */
static uintptr_t stride_of(void *const *objs) {
    uintptr_t *sorted = bench_table(OBJECTS * sizeof *sorted), least = UINTPTR_MAX;
    memcpy(sorted, objs, OBJECTS * sizeof *sorted);
    qsort(sorted, OBJECTS, sizeof *sorted, by_address);
    for (size_t i = 1; i < OBJECTS; i++)
        least = sorted[i] - sorted[i - 1] < least ? sorted[i] - sorted[i - 1] : least;
    return least;
}

/* The gaps of all objects that have one of ours right behind them, so that all bytes can be read. */
static long read_gaps(gap *gaps, void *const *objs, const curves_attack *attack, uintptr_t stride) {
    static gap all[OBJECTS];
    knowledge every = {.gaps = all, .numbers = bench_table(HASH * sizeof(long))};
    long count = 0, place;
    for (long i = 0; i < OBJECTS; i++) {
        all[i].object = (uintptr_t)objs[i];
        (void)number_of(&every, all[i].object, &place);
        every.numbers[place] = i + 1;
    }
    for (long i = 0; i < OBJECTS; i++)
        if (leaked(&every, all[i].object + stride) != NULL) {
            gaps[count] = all[i];
            memcpy(gaps[count++].words, (const char *)objs[i] + attack->size, stride - attack->size);
        }
    return count;
}

static bool tells(const curves_attack *attack, const knowledge *the, const gap *target, uintptr_t stride) {
    uint64_t words[WORDS_MOST];
    bool told = false;
    if (strcmp(attack->way, "copy") == 0)
        told = by_copy(the, target, words);
    else if (strcmp(attack->way, "sum") == 0)
        told = by_sum(the, target, words);
    else if (strcmp(attack->way, "xor") == 0)
        told = by_xor(the, target, stride, words);
    else
        bench_die("unknown way", attack->way);
    return told && memcmp(words, target->words, the->words * 8) == 0;
}

/* Leaks until he told the gap behind an object that was not leaked; 0: there is nothing between two objects. The size
 * is a multiple of 8. Wrong answers before cost the attacker nothing here. */
long curves_forge(const curves_attack *attack) {
    static gap gaps[OBJECTS];
    void **objs = bench_table(OBJECTS * sizeof(void *));
    for (long i = 0; i < OBJECTS; i++)
        objs[i] = memset(curves_make(attack), 'A', attack->size);
    uintptr_t stride = stride_of(objs);
    if (stride <= attack->size)
        return 0;
    if (stride - attack->size > GAP_MOST || attack->size % 8 != 0)
        bench_die("no such gap", "forge");
    long count = read_gaps(gaps, objs, attack, stride), place;
    knowledge the = {
        .gaps = gaps, .numbers = bench_table(HASH * sizeof(long)), .words = (stride - attack->size) / 8};
    while (the.known < attack->limit && the.known + 1 < count) {
        const gap *leak = &gaps[the.known];
        (void)number_of(&the, leak->object, &place);
        the.numbers[place] = ++the.known;
        learn(&the, leak, stride);
        if (tells(attack, &the, leak + 1, stride))
            return the.known;
    }
    if (the.known < attack->limit)
        bench_die("too few neighbours", "forge");
    return CURVES_MORE;
}

long curves_base(const curves_attack *attack) {
    return (long)(uintptr_t)curves_make(attack);
}
