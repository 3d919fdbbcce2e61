/* cwe416_use_after_free.c: an object is used after its end (CWE-416). Writes are found when the process ends, or
 * when the slot is about to be handed out again; reads of small objects only by guards. realloc and
 * malloc_usable_size refuse at once. */
#include "misuse.h"

#include <stdio.h>
#include <unistd.h>

static void write_first(bool error, size_t size) {
    char *obj = take(size);
    if (!error)
        put(obj, 0, 0x41);
    drop(obj);
    if (error)
        put(obj, 0, 0x41);
}

static void write_last(bool error, size_t size) {
    char *obj = take(size);
    if (!error)
        put(obj, (ptrdiff_t)size - 1, 0x41);
    drop(obj);
    if (error)
        put(obj, (ptrdiff_t)size - 1, 0x41);
}

static void write_middle(bool error, size_t size) {
    char *obj = take(size);
    if (!error)
        put(obj, (ptrdiff_t)size / 2, 0x41);
    drop(obj);
    if (error)
        put(obj, (ptrdiff_t)size / 2, 0x41);
}

static void flip_one_bit(bool error, size_t size) {
    char *obj = take_zeroed(1, size);
    drop(obj);
    if (error)
        put(obj, 40, get(obj, 40) ^ 1);
}

static void write_all(bool error, size_t size) {
    char *obj = take(size);
    drop(obj);
    if (error)
        fill(obj, 0, (ptrdiff_t)size, 0x41);
}

static void strcpy_into(bool error, size_t size) {
    char *obj = take(size);
    drop(obj);
    if (error)
        strcpy(hide(obj), "too late");
}

static void write_aligned(bool error, size_t alignment) {
    char *obj = take_aligned(alignment, 3 * alignment);
    drop(obj);
    if (error)
        put(obj, 8, 0x41);
}

static void system_call_writes(bool error, size_t size) {
    char *obj = take(size);
    int ends[2];
    if (pipe(ends) || write(ends[1], "from a pipe", 11) != 11)
        _exit(3);
    if (error)
        drop(obj);
    bool refused = read(ends[0], hide(obj), 11) != 11;
    if (!error)
        drop(obj);
    else if (refused)
        abort(); /* the kernel met a guard: counts as a fault */
}

static void write_through_old_pointer(bool error, size_t size) {
    char *obj = take(size), *moved = resize(obj, 256 * size);
    if (error && moved != obj)
        put(obj, 3, 0x41);
    drop(moved);
}

static void put_one(void *obj) {
    put(obj, 5, 0x41);
}

static void written_by_a_thread(bool error, size_t size) {
    char *obj = take(size);
    if (!error)
        in_thread(put_one, obj);
    drop(obj);
    if (error)
        in_thread(put_one, obj);
}

static void make_and_drop(void *out) {
    *(void **)out = take(64);
    drop(*(void **)out);
}

static void owner_has_ended(bool error, size_t arg) {
    void *obj = NULL;
    (void)arg;
    in_thread(make_and_drop, &obj);
    if (error)
        put(obj, 5, 0x41);
}

static void slab_has_died(bool error, size_t size) {
    static void *objs[4000];
    take_many(objs, 4000, size);
    drop_many(objs, 4000);
    if (error)
        put(objs[1000], 5, 0x41);
}

/* The program ends by _exit: no check at exit can find it, only the rounds that take the slot again. */
static void found_on_reuse(bool error, size_t size) {
    char *obj = take(size);
    drop(obj);
    if (error)
        put(obj, 5, 0x41);
    churn(size, 300000);
    _exit(0);
}

static void read_first(bool error, size_t size) {
    char *obj = take(size);
    if (!error)
        get(obj, 0);
    drop(obj);
    if (error)
        get(obj, 0);
}

static void read_after_rounds(bool error, size_t size) {
    char *obj = take(size);
    drop(obj);
    churn(size, 100);
    if (error)
        get(obj, 9);
}

typedef struct node {
    struct node *next;
    char load[40];
} node;

static void walk_while_freeing(bool error, size_t length) {
    node *head = NULL;
    for (size_t i = 0; i < length; i++) {
        node *it = take(sizeof *it);
        it->next = head;
        head = it;
    }
    for (volatile node *it = head, *next; it; it = next) {
        next = it->next;
        drop((void *)(uintptr_t)it);
        if (error)
            next = it->next;
    }
}

static void resize_freed(bool error, size_t size) {
    void *obj = take(size), *moved = NULL;
    if (error)
        drop(obj);
    moved = resize(obj, 2 * size);
    if (!error)
        drop(moved);
}

static void shrink_freed(bool error, size_t size) {
    void *obj = take(size), *moved = NULL;
    if (error)
        drop(obj);
    moved = resize(obj, size / 4);
    if (!error)
        drop(moved);
}

static void usable_of_freed(bool error, size_t size) {
    void *obj = take(size);
    if (error)
        drop(obj);
    usable(obj);
    if (!error)
        drop(obj);
}

static char *late;

static void write_late(void) {
    put(late, 1, 0x41);
}

static void in_exit_handler(bool error, size_t size) {
    late = take(size);
    if (error)
        drop(late);
    atexit(write_late);
}

#define FOUND(name, run, arg)   {name, "write after free", "write-after-free", SURE, run, arg}
#define GUARDED(name, run, arg) {name, "use after free", "guard", SURE, run, arg}
#define READ(name, run, arg)    {name, "use after free", "sample", SAMPLED, run, arg}
static const misuse_case cases[] = {
    FOUND("write_after_free_tiny", write_first, 8),
    FOUND("write_after_free_small", write_first, 64),
    FOUND("write_after_free_last_byte", write_last, 100),
    FOUND("write_after_free_of_a_page", write_middle, 4096),
    FOUND("write_after_free_medium", write_middle, 40000),
    GUARDED("write_after_free_large", write_middle, 1 << 20),
    GUARDED("write_after_free_huge", write_first, 64 << 20),
    FOUND("write_after_free_one_bit", flip_one_bit, 64),
    FOUND("write_after_free_whole_object", write_all, 256),
    FOUND("write_after_free_strcpy", strcpy_into, 32),
    FOUND("write_after_free_aligned", write_aligned, 256),
    {"write_after_free_by_a_system_call", "write after free", "write-after-free", CHANCE, system_call_writes,
     128},
    FOUND("write_after_realloc_moved", write_through_old_pointer, 400),
    FOUND("write_after_free_by_a_thread", written_by_a_thread, 64),
    FOUND("write_after_free_owner_has_ended", owner_has_ended, 0),
    {"write_after_free_slab_has_died", "write after free|use after free", "write-after-free", SURE,
     slab_has_died, 500},
    FOUND("write_after_free_in_an_exit_handler", in_exit_handler, 64),
    {"write_after_free_found_on_reuse", "write after free", "write-after-free", CHANCE, found_on_reuse, 64},
    {"write_after_free_found_on_reuse_1000", "write after free", "write-after-free", CHANCE, found_on_reuse,
     1000},
    READ("read_after_free_small", read_first, 64),
    READ("read_after_free_medium", read_first, 20000),
    GUARDED("read_after_free_large", read_first, 1 << 20),
    READ("read_after_free_after_100_rounds", read_after_rounds, 64),
    READ("read_after_free_walking_a_list", walk_while_freeing, 20),
    {"realloc_of_freed", "invalid realloc", "realloc", SURE, resize_freed, 64},
    {"realloc_of_freed_medium", "invalid realloc", "realloc", SURE, resize_freed, 40000},
    {"realloc_of_freed_large", "invalid realloc", "realloc", SURE, resize_freed, 1 << 20},
    {"realloc_of_freed_to_less", "invalid realloc", "realloc", SURE, shrink_freed, 400},
    {"usable_size_of_freed", "invalid usable size", "usable", SURE, usable_of_freed, 64},
    {"usable_size_of_freed_large", "invalid usable size", "usable", SURE, usable_of_freed, 1 << 20},
};
MISUSE_GROUP(cwe416_use_after_free, "416", cases);
