/* attack_bounds.c: attacks on allocators that keep their metadata in reach of a linear write. The attack overwrites
 * the whole neighbourhood, the start of the page, or the start of the aligned block to which masking an address
 * leads (mimalloc, rpmalloc and others), with the address of the target, as a blind attacker would. The attack wins
 * when malloc hands out the target or overlapping objects. */
#include "misuse.h"

enum { COUNT = 512, SIZE = 64 };

static _Alignas(4096) uint64_t target[512];
static void *objs[COUNT], *tries[2048];

static void write_target(void *from, size_t words) {
    volatile uint64_t *at = hide(from);
    for (size_t i = 0; i < words; i++)
        at[i] = (uint64_t)&target[64];
}

static void look(bool error) {
    for (size_t i = 0; i < 2048; i++) {
        tries[i] = take(SIZE);
        if (error)
            check_placed(&tries[i], 1, target, sizeof target);
    }
    if (error)
        check_overlap(tries, 2048, SIZE);
}

/* Every second object is freed; a write runs from a live one over its neighbours. */
static void stream_forward(bool error, size_t length) {
    take_many(objs, COUNT, SIZE);
    for (size_t i = 1; i < COUNT; i += 2)
        drop(objs[i]);
    if (error)
        write_target(objs[COUNT / 2], length / 8);
    look(error);
}

static void stream_backward(bool error, size_t length) {
    take_many(objs, COUNT, SIZE);
    for (size_t i = 1; i < COUNT; i += 2)
        drop(objs[i]);
    if (error)
        write_target((char *)objs[COUNT / 2] - length, length / 8);
    look(error);
}

/* The first 512 bytes of the aligned block around the object. */
static void start_of_block(bool error, size_t block) {
    take_many(objs, COUNT, SIZE);
    for (size_t i = 1; i < COUNT; i += 2)
        drop(objs[i]);
    if (error)
        write_target((void *)((uintptr_t)objs[COUNT / 2] & ~(uintptr_t)(block - 1)), 64);
    look(error);
}

/* All counters and bitmaps in reach are cleared instead. */
static void clear_start_of_block(bool error, size_t block) {
    take_many(objs, COUNT, SIZE);
    if (error)
        memset((void *)((uintptr_t)objs[COUNT / 2] & ~(uintptr_t)(block - 1)), 0, 256);
    look(error);
    for (size_t i = 0; error && i < COUNT; i++)
        check_placed(tries, 2048, objs[i], SIZE);
}

static void before_large(bool error, size_t length) {
    char *obj = take(1 << 20);
    if (error)
        write_target(obj - length, length / 8);
    drop(obj);
    look(error);
}

static void after_large(bool error, size_t length) {
    char *obj = take(1 << 20);
    if (error)
        write_target(obj + (1 << 20), length / 8);
    drop(obj);
    look(error);
}

#define ANY "heap overflow|heap underflow|write after free|out-of-bounds access"
static const misuse_case cases[] = {
    {"attack_stream_forward_400", ANY, "sweep", SURE, stream_forward, 400},
    {"attack_stream_forward_16_kib", ANY, "sweep", SURE, stream_forward, 16384},
    {"attack_stream_backward_400", ANY, "sweep", SURE, stream_backward, 400},
    {"attack_stream_backward_16_kib", ANY, "sweep", SURE, stream_backward, 16384},
    {"attack_start_of_page", ANY, "sweep", NOT_WON, start_of_block, 4096},
    {"attack_start_of_64_kib", ANY, "sweep", NOT_WON, start_of_block, 65536},
    {"attack_start_of_2_mib", ANY, "sweep", NOT_WON, start_of_block, 2 << 20},
    {"attack_start_of_32_mib", ANY, "sweep", NOT_WON, start_of_block, 32 << 20},
    {"attack_clear_start_of_page", ANY, "sweep", NOT_WON, clear_start_of_block, 4096},
    {"attack_clear_start_of_64_kib", ANY, "sweep", NOT_WON, clear_start_of_block, 65536},
    {"attack_clear_start_of_2_mib", ANY, "sweep", NOT_WON, clear_start_of_block, 2 << 20},
    {"attack_before_large", "out-of-bounds access", "guard", SURE, before_large, 64},
    {"attack_after_large", "out-of-bounds access", "guard", SURE, after_large, 4096},
};
MISUSE_GROUP(attack_bounds, "attack", cases);
