/* attack_headers.c: attacks on headers kept beside objects (glibc's size words, mapped-block headers, scudo's
 * header). An overflow or underwrite forges a neighbour's header, so that the allocator merges, splits, unmaps or
 * measures the wrong memory. Overlapping chunks, house of einherjar, unsafe unlink, large bin, house of force,
 * muney. */
#include "misuse.h"

static _Alignas(64) uint64_t area[512];
static void *tries[256];

static void write_word(void *place, uint64_t word) {
    memcpy(hide(place), &word, sizeof word);
}

/* The live objects around objs[i] that a larger block in its place would cover. */
static void check_covers(void **objs, size_t count, void *block, size_t length) {
    for (size_t i = 0; i < count; i++)
        if (objs[i] && (uintptr_t)objs[i] - (uintptr_t)block < length)
            primitive("two live objects overlap");
}

/* An overflow of the object before objs[20] makes the size word before objs[20] larger. */
static void size_enlarged(bool error, size_t size) {
    void *objs[64], *victim;
    take_many(objs, 64, size);
    misuse_pair near = closest(objs, 64);
    victim = objs[near.high];
    if (error)
        write_word((char *)victim - 8, (3 * (size + 8)) | 1);
    drop(victim);
    objs[near.high] = NULL;
    take_many(tries, 64, 3 * (size + 8) - 8);
    for (size_t i = 0; error && i < 64; i++)
        check_covers(objs, 64, tries[i], 3 * size);
}

static void usable_size_forged(bool error, size_t size) {
    void *objs[64], *victim;
    take_many(objs, 64, size);
    misuse_pair near = closest(objs, 64);
    victim = objs[near.high];
    if (error) {
        write_word((char *)victim - 8, (16 * (size + 8)) | 1);
        objs[near.high] = NULL;
        check_covers(objs, 64, victim, usable(victim));
    }
    drop_many(objs, 64);
}

static void realloc_in_place_forged(bool error, size_t size) {
    void *objs[64], *victim;
    take_many(objs, 64, size);
    misuse_pair near = closest(objs, 64);
    victim = objs[near.high];
    if (error)
        write_word((char *)victim - 8, (8 * (size + 8)) | 1);
    objs[near.high] = NULL;
    victim = resize(victim, 6 * size);
    if (error)
        check_covers(objs, 64, victim, 6 * size);
}

/* House of einherjar: one NUL past the end clears "previous is in use" of the next block. */
static void one_nul_merges(bool error, size_t size) {
    char *holder = take(size), *edge = take(size), *next = take(1272), *barrier = take(16);
    void *live = edge;
    uint64_t fake = (uint64_t)holder + 16;
    memset(holder, 0, size);
    write_word(holder + 24, (uint64_t)(edge + size - 8 - holder - 16));
    write_word(holder + 32, fake);
    write_word(holder + 40, fake);
    drop_many((void *[]){take(1272), take(1272)}, 2);
    if (error) {
        write_word(edge + size - 8, (uint64_t)(edge + size - 8 - holder - 16));
        put(edge, (ptrdiff_t)size, 0);
    }
    drop(next);
    take_many(tries, 64, 3 * size);
    for (size_t i = 0; error && i < 64; i++)
        check_covers(&live, 1, tries[i], 3 * size);
    drop(barrier);
}

/* Unsafe unlink: a forged free block whose neighbours' pointers lie around a global that holds it. */
static void unlink_forged(bool error, size_t size) {
    static uint64_t *global[8];
    uint64_t *fake = take(size);
    char *next = take(size), *barrier = take(16);
    global[4] = fake;
    memset(fake, 0, size);
    fake[1] = size - 8;
    fake[2] = (uint64_t)&global[1];
    fake[3] = (uint64_t)&global[2];
    if (error) {
        write_word(next - 16, size - 8);
        write_word(next - 8, (size + 8) & ~(uint64_t)1);
    }
    drop(next);
    if (error && global[4] != fake)
        primitive("a write to a chosen address");
    drop(barrier);
}

/* Large-bin attack: the links of a sorted free block lead beside the target; a second one is sorted in. */
static void sorted_insert(bool error, size_t size) {
    char *big = take(size + 16), *barrier = take(24), *small = take(size), *barrier2 = take(24);
    drop(big);
    drop(take(2 * size));
    drop(small);
    if (error)
        write_word(big + 24, (uint64_t)&area[64] - 32);
    drop(take(2 * size));
    if (error && area[64])
        primitive("a write to a chosen address");
    drop(barrier);
    drop(barrier2);
}

/* House of force: the size of the rest of the heap becomes enormous. */
static void rest_enlarged(bool error, size_t size) {
    char *obj = take(size), *reached;
    if (error) {
        write_word(obj + size, UINT64_MAX);
        write_word(obj + size + 8, UINT64_MAX);
        (void)!take((size_t)((uintptr_t)area - (uintptr_t)obj - size - 64));
        reached = take(size);
        check_placed((void **)&reached, 1, area, sizeof area);
    }
}

/* House of muney: the header of a mapped block claims the mapping after it as well; free unmaps both. */
static void mapped_header_forged(bool error, size_t size) {
    void *objs[3];
    take_many(objs, 3, size);
    misuse_pair near = closest(objs, 3);
    char *low = objs[near.low], *high = objs[near.high];
    if (error)
        write_word(low - 8, ((uint64_t)(high - low) * 2) | 2);
    drop(low);
    objs[near.low] = NULL;
    take_many(tries, 4, size);
    for (size_t i = 0; error && i < 4; i++)
        check_covers(objs, 3, tries[i], size);
}

/* The 16 bytes before an object are replaced by those before another, larger object. */
static void header_transplanted(bool error, size_t size) {
    char *small = take(48), *large = take(size);
    void *objs[32];
    take_many(objs, 32, 48);
    if (error)
        memcpy(hide(small - 16), hide(large - 16), 16);
    drop(small);
    take_many(tries, 64, size);
    for (size_t i = 0; error && i < 64; i++)
        check_covers(objs, 32, tries[i], size);
    drop(large);
}

#define UNDER "heap overflow|heap underflow|write after free|out-of-bounds access"
static const misuse_case cases[] = {
    {"attack_size_enlarged", UNDER, "sweep", SURE, size_enlarged, 72},
    {"attack_size_enlarged_400", UNDER, "sweep", SURE, size_enlarged, 1032},
    {"attack_usable_size_forged", UNDER, "sweep", SURE, usable_size_forged, 72},
    {"attack_realloc_in_place_forged", UNDER, "sweep", SURE, realloc_in_place_forged, 72},
    {"attack_one_nul_merges", "heap overflow", "sweep", SURE, one_nul_merges, 56},
    {"attack_unlink_forged", UNDER, "sweep", SURE, unlink_forged, 1064},
    {"attack_sorted_insert", "write after free", "write-after-free", SURE, sorted_insert, 1336},
    {"attack_rest_enlarged", UNDER, "sweep", SURE, rest_enlarged, 264},
    {"attack_mapped_header_forged", "out-of-bounds access", "guard", SURE, mapped_header_forged, 40 << 20},
    /* Where there are no headers, the bytes before both objects may be the same. */
    {"attack_header_transplanted", UNDER, "sweep", CHANCE, header_transplanted, 2000},
};
MISUSE_GROUP(attack_headers, "attack", cases);
