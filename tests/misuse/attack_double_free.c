/* attack_double_free.c: double and invalid frees with which an attacker wants to win something: the same memory
 * handed out twice (fastbin dup, house of botcake, dup into a consolidated bin), or memory of the attacker's choice,
 * freed so that malloc hands it out (house of spirit). Every well-known way around the usual checks is one case. */
#include "misuse.h"

static _Alignas(64) uint64_t forged[1024];

/* Takes 16 objects of `size`; the attack wins when two of them overlap. */
static void spray(bool error, size_t size) {
    void *objs[16];
    take_many(objs, 16, size);
    if (error)
        check_overlap(objs, 16, size);
}

static void dup(bool error, size_t size) {
    void *obj = take(size);
    drop(obj);
    if (error)
        drop(obj);
    spray(error, size);
}

static void dup_with_one_between(bool error, size_t size) {
    void *objs[10];
    take_many(objs, 10, size);
    drop_many(objs, 9);
    drop(objs[9]);
    if (error)
        drop(objs[8]);
    spray(error, size);
}

/* glibc and others leave a key in the freed object; the attacker wipes it. */
static void dup_key_wiped(bool error, size_t size) {
    void *obj = take(size);
    drop(obj);
    if (error) {
        fill(obj, 0, 16, 0);
        drop(obj);
    }
    spray(error, size);
}

/* House of botcake: freed into a merged block first, then into the cache. */
static void dup_merged(bool error, size_t size) {
    void *objs[9], *barrier;
    take_many(objs, 9, size);
    barrier = take(16);
    drop_many(objs, 7);
    drop(objs[8]);
    drop(objs[7]);
    objs[0] = take(size);
    if (error) {
        drop(objs[8]);
        objs[1] = take(2 * size + 16);
        objs[2] = take(size);
        if ((uintptr_t)objs[2] - (uintptr_t)objs[1] < 2 * size)
            primitive("two live objects overlap");
    }
    drop(barrier);
}

/* A freed small object is merged away by a large request, and then freed again. */
static void dup_consolidated(bool error, size_t size) {
    void *objs[8], *big, *small;
    take_many(objs, 8, size);
    drop_many(objs, 8);
    big = take(4000);
    if (error) {
        drop(objs[7]);
        small = take(size);
        if ((uintptr_t)small - (uintptr_t)big < 4000)
            primitive("two live objects overlap");
    }
    drop(big);
}

static void take_into(void *out) {
    void **objs = out;
    size_t size = (size_t)objs[0];
    take_many(objs, 8, size);
}

static void drop_and_take(void *out) {
    void **objs = out;
    drop(objs[1]);
    take_into(out);
}

static void dup_across_threads(bool error, size_t size) {
    void *objs[16], *obj = take(size);
    drop(obj);
    objs[8] = (void *)size;
    objs[9] = obj;
    in_thread(error ? drop_and_take : take_into, &objs[8]);
    take_many(objs, 8, size);
    if (error)
        check_overlap(objs, 16, size);
}

/* The stale pointer is freed when the slot has a new owner; a third allocation then shares the slot. */
static void free_of_the_new_owner(bool error, size_t size) {
    void *stale = take(size), *objs[16];
    drop(stale);
    take_many(objs, 8, size);
    if (error)
        drop(stale);
    take_many(&objs[8], 8, size);
    if (error)
        check_overlap(objs, 16, size);
}

static void realloc_of_the_new_owner(bool error, size_t size) {
    void *stale = take(size), *objs[16];
    drop(stale);
    take_many(objs, 8, size);
    if (error)
        (void)!resize(stale, 100 * size);
    take_many(&objs[8], 8, size);
    if (error)
        check_overlap(objs, 16, size);
}

static void forge(void *area, size_t words, size_t size) {
    uint64_t *at = area;
    for (size_t i = 1; i < words; i += 2)
        at[i] = ((size + 8 + 15) & ~(size_t)15) | 1; /* glibc's header before every possible object */
}

static void spirit(bool error, size_t size, void *area, size_t length) {
    void *objs[16];
    forge(area, length / 8, size);
    if (error)
        drop((char *)hide(area) + 64);
    take_many(objs, 16, size);
    if (error)
        check_placed(objs, 16, area, length);
}

static void spirit_stack(bool error, size_t size) {
    _Alignas(64) uint64_t local[256] = {0};
    spirit(error, size, local, sizeof local);
}

static void spirit_global(bool error, size_t size) {
    spirit(error, size, forged, sizeof forged);
}

/* The forged object lies inside a live one: an object that malloc hands out there overlaps it. */
static void spirit_inside(bool error, size_t size) {
    void *objs[17];
    char *holder = take(2048);
    memset(holder, 0, 2048);
    forge(holder, 256, size);
    if (error)
        drop(holder + 64);
    take_many(objs, 16, size);
    if (error)
        check_placed(objs, 16, holder, 2048);
    drop(holder);
}

/* A slot that was never handed out is freed: the next mallocs hand it out twice. */
static void free_of_an_unborn_slot(bool error, size_t size) {
    static void *objs[512];
    char *obj = take(size), *next = take(size);
    ptrdiff_t step = next > obj ? next - obj : obj - next;
    for (ptrdiff_t i = 2; error && i < 20; i++)
        drop(obj + i * step);
    take_many(objs, 512, size);
    if (error)
        check_overlap(objs, 512, size);
}

/* The caller states a wrong size, so that the slot goes to the lists of a larger class. */
static void sized_into_a_larger_class(bool error, size_t size) {
    void *objs[64], *large[64];
    take_many(objs, 64, 48);
    if (error)
        drop_sized(objs[20], size);
    take_many(large, 64, size);
    objs[20] = NULL;
    for (size_t i = 0; error && i < 64; i++)
        check_placed(objs, 64, large[i], size);
}

#define ROW(name, run, arg) {name, "double free", "ledger", SURE, run, arg}
static const misuse_case cases[] = {
    ROW("attack_dup", dup, 64),
    ROW("attack_dup_medium", dup, 20000),
    ROW("attack_dup_large", dup, 1 << 20),
    ROW("attack_dup_with_one_between", dup_with_one_between, 64),
    {"attack_dup_key_wiped", "double free|use after free", "ledger", SURE, dup_key_wiped, 64},
    {"attack_dup_key_wiped_medium", "double free|use after free", "ledger", SURE, dup_key_wiped, 900},
    ROW("attack_dup_merged", dup_merged, 256),
    ROW("attack_dup_consolidated", dup_consolidated, 64),
    ROW("attack_dup_across_threads", dup_across_threads, 64),
    {"attack_free_of_the_new_owner", "double free", "quarantine", SURE, free_of_the_new_owner, 64},
    {"attack_free_of_the_new_owner_large", "double free", "quarantine", SURE, free_of_the_new_owner, 1 << 20},
    {"attack_realloc_of_the_new_owner", "invalid realloc", "quarantine", SURE, realloc_of_the_new_owner, 64},
    {"attack_spirit_stack", "invalid free", "ledger", SURE, spirit_stack, 64},
    {"attack_spirit_global", "invalid free", "ledger", SURE, spirit_global, 64},
    {"attack_spirit_inside", "interior free", "ledger", SURE, spirit_inside, 64},
    {"attack_free_of_an_unborn_slot", "invalid free|double free|interior free", "ledger", SURE,
     free_of_an_unborn_slot, 64},
    {"attack_sized_into_a_larger_class", "size mismatch", "size", SURE, sized_into_a_larger_class, 4000},
};
MISUSE_GROUP(attack_double_free, "attack", cases);
