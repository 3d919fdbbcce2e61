/* attack_free_list.c: attacks on free lists kept inside freed objects (tcache and fastbin poisoning and their
 * relatives). The freed object's first words are replaced by the address of the target, plain or as glibc's
 * safe-linking stores it, through a dangling pointer or from a neighbour. The attack wins when malloc hands out the
 * target, or overlapping objects. */
#include "misuse.h"

enum { TRIES = 4096, SIZE = 72 };

static _Alignas(4096) uint64_t target[512];
static void *tries[TRIES];

typedef enum link_form { PLAIN, SAFE_LINKED, PLAIN_SECOND_WORD, BYTE_SWAPPED } link_form;

/* The word that the list would hold at `place` if it led to the target. */
static uint64_t link_to_target(const void *place, link_form form) {
    uint64_t address = (uint64_t)&target[64];
    if (form == SAFE_LINKED)
        return address ^ ((uint64_t)place >> 12);
    return form == BYTE_SWAPPED ? __builtin_bswap64(address) : address;
}

static void poison(void *freed, link_form form) {
    uint64_t link = link_to_target(freed, form);
    memcpy((char *)hide(freed) + (form == PLAIN_SECOND_WORD ? 8 : 0), &link, sizeof link);
}

static void set_target(void) {
    for (size_t i = 1; i < 512; i += 2)
        target[i] = ((SIZE + 8 + 15) & ~15u) | 1; /* a size that glibc would accept, in every place */
}

/* Takes all free objects back and looks for the target each time; the allocator may also check the heap at exit. */
static void collect(size_t size, bool error) {
    for (size_t i = 0; i < TRIES; i++) {
        tries[i] = take(size);
        if (error)
            check_placed(&tries[i], 1, target, sizeof target);
    }
    if (error)
        check_overlap(tries, 64, size);
}

static void by_dangling_pointer(bool error, size_t form) {
    void *objs[4];
    set_target();
    take_many(objs, 4, SIZE);
    drop_many(objs, 4);
    if (error)
        poison(objs[3], (link_form)form);
    collect(SIZE, error);
}

/* More objects than a cache holds, every link changed. */
static void by_many_dangling_pointers(bool error, size_t form) {
    static void *objs[512];
    set_target();
    take_many(objs, 512, SIZE);
    drop_many(objs, 512);
    for (size_t i = 0; error && i < 512; i++)
        poison(objs[i], (link_form)form);
    collect(SIZE, error);
}

static void drop_four(void *objs) {
    drop_many(objs, 4);
}

/* Freed by another thread: an allocator also links its lists of remote frees. */
static void by_remote_free(bool error, size_t form) {
    void *objs[4];
    set_target();
    take_many(objs, 4, SIZE);
    in_thread(drop_four, objs);
    for (size_t i = 0; error && i < 4; i++)
        poison(objs[i], (link_form)form);
    collect(SIZE, error);
}

/* A linear overflow from a live object over the freed one after it; glibc's size word stays plausible. */
static void by_overflow(bool error, size_t form) {
    void *objs[64];
    set_target();
    take_many(objs, 64, SIZE);
    misuse_pair near = closest(objs, 64);
    char *low = objs[near.low], *high = objs[near.high];
    drop(objs[(near.high + 1) % 64 == near.low ? (near.high + 2) % 64 : (near.high + 1) % 64]);
    drop(high);
    if (error) {
        uint64_t size_word = ((SIZE + 8 + 15) & ~15u) | 1;
        fill(low, SIZE, high - low - 8, 0x41);
        memcpy(low + (high - low) - 8, &size_word, 8);
        poison(low + (high - low), (link_form)form);
    }
    collect(SIZE, error);
}

/* Only the lowest bits of the link change, so that it leads into the middle of an object. */
static void by_partial_overwrite(bool error, size_t bits) {
    void *objs[8];
    take_many(objs, 8, SIZE);
    drop(objs[2]);
    drop(objs[5]);
    drop(objs[6]);
    if (error)
        put(objs[6], 0, get(objs[6], 0) ^ (int)bits);
    objs[2] = NULL;
    objs[6] = take(SIZE);
    objs[5] = take(SIZE);
    if (error)
        check_overlap(objs, 8, SIZE);
    objs[2] = take(SIZE);
}

static void by_write_after_medium_free(bool error, size_t size) {
    void *objs[4];
    take_many(objs, 4, size);
    drop_many(objs, 4);
    for (size_t i = 0; error && i < 4; i++) {
        poison(objs[i], PLAIN);
        poison(objs[i], PLAIN_SECOND_WORD);
    }
    take_many(tries, 64, size);
    if (error)
        check_placed(tries, 64, target, sizeof target);
}

/* A doubly linked bin (house of lore): both words of a freed, sorted object lead to a forged one. */
static void forged_bin_member(bool error, size_t size) {
    void *objs[16], *barrier[16];
    for (size_t i = 0; i < 16; i++) {
        objs[i] = take(size);
        barrier[i] = take(24);
    }
    drop_many(objs, 16);
    drop(take(16 * size)); /* sorts free memory */
    if (error) {
        for (size_t i = 0; i < 512; i += 2) {
            target[i] = (uint64_t)&target[62];
            target[i + 1] = (uint64_t)objs[15] - 16;
        }
        uint64_t links[2] = {(uint64_t)&target[62], (uint64_t)&target[62]};
        memcpy(hide(objs[15]), links, sizeof links);
    }
    take_many(tries, 64, size);
    if (error)
        check_placed(tries, 64, target, sizeof target);
    drop_many(barrier, 16);
}

#define ROW(name, run, arg) {name, "write after free", "write-after-free", SURE, run, arg}
static const misuse_case cases[] = {
    ROW("attack_free_list_plain", by_dangling_pointer, PLAIN),
    ROW("attack_free_list_safe_linked", by_dangling_pointer, SAFE_LINKED),
    ROW("attack_free_list_second_word", by_dangling_pointer, PLAIN_SECOND_WORD),
    ROW("attack_free_list_byte_swapped", by_dangling_pointer, BYTE_SWAPPED),
    ROW("attack_free_list_many_plain", by_many_dangling_pointers, PLAIN),
    ROW("attack_free_list_many_safe_linked", by_many_dangling_pointers, SAFE_LINKED),
    ROW("attack_free_list_remote_plain", by_remote_free, PLAIN),
    ROW("attack_free_list_remote_safe_linked", by_remote_free, SAFE_LINKED),
    {"attack_free_list_by_overflow_plain", "heap overflow|write after free", "sweep", SURE, by_overflow,
     PLAIN},
    {"attack_free_list_by_overflow_safe_linked", "heap overflow|write after free", "sweep", SURE, by_overflow,
     SAFE_LINKED},
    ROW("attack_free_list_partial_overwrite", by_partial_overwrite, 0x20),
    ROW("attack_free_list_partial_overwrite_far", by_partial_overwrite, 0x90),
    ROW("attack_free_list_medium", by_write_after_medium_free, 20000),
    ROW("attack_forged_bin_member", forged_bin_member, 1200),
};
MISUSE_GROUP(attack_free_list, "attack", cases);
