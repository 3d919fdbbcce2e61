/* cwe590_not_heap.c: free, realloc and malloc_usable_size of memory that malloc never gave out (CWE-590). */
#include "misuse.h"

#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

_Alignas(64) static char global_bytes[4096];
static _Thread_local _Alignas(64) char thread_bytes[256];
static const char constant_text[32] = "read-only";

static void drop_or(bool error, void *bad) {
    void *obj = take(64);
    if (error)
        drop(hide(bad));
    drop(obj);
}

static void stack(bool error, size_t offset) {
    _Alignas(64) char local[512];
    memset(local, 0, sizeof local);
    drop_or(error, local + offset);
}

static void stack_of_a_caller(bool error, size_t length) {
    char local[length];
    fill(local, 0, (ptrdiff_t)length, 0x21);
    drop_or(error, (void *)(((uintptr_t)local + 15) & ~(uintptr_t)15));
}

static void drop_local(void *error) {
    stack(error != NULL, 0);
}

static void stack_of_a_thread(bool error, size_t arg) {
    (void)arg;
    in_thread(drop_local, error ? &error : NULL);
}

static void global(bool error, size_t offset) {
    drop_or(error, global_bytes + offset);
}

static void thread_local_bytes(bool error, size_t arg) {
    drop_or(error, thread_bytes + arg);
}

static void constant(bool error, size_t arg) {
    drop_or(error, (void *)(uintptr_t)(constant_text + arg));
}

static void inside_libc(bool error, size_t arg) {
    (void)arg;
    drop_or(error, (void *)((uintptr_t)&fopen & ~(uintptr_t)15));
}

static void stream_of_libc(bool error, size_t arg) {
    (void)arg;
    drop_or(error, stdout);
}

static void own_code(bool error, size_t arg) {
    (void)arg;
    drop_or(error, (void *)((uintptr_t)&stack & ~(uintptr_t)15));
}

extern char **environ;

static void environment(bool error, size_t arg) {
    (void)arg;
    drop_or(error, environ[0]);
}

static void mapping(bool error, size_t offset) {
    char *map = mmap(NULL, 8 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    drop_or(error, map + offset);
    munmap(map, 8 << 20);
}

static void unmapped(bool error, size_t arg) {
    char *map = mmap(NULL, arg, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(map, arg);
    drop_or(error, map);
}

static void wild(bool error, size_t address) {
    drop_or(error, (void *)address);
}

/* In the heap's own address space, far from every object. */
static void far_in_the_heap(bool error, size_t distance) {
    char *obj = take(64);
    if (error)
        drop(hide((char *)((uintptr_t)obj & ~(uintptr_t)15) + distance));
    drop(obj);
}

/* An object that begins such a block has nothing before it: the next object is used then. */
static void header_of_the_heap(bool error, size_t mask) {
    char *obj = take(64), *start = (char *)((uintptr_t)obj & ~(uintptr_t)mask);
    for (int i = 0; i < 100 && start == obj; i++) {
        obj = take(64);
        start = (char *)((uintptr_t)obj & ~(uintptr_t)mask);
    }
    if (error && start != obj)
        drop(start);
    drop(obj);
}

static void resize_stack(bool error, size_t size) {
    _Alignas(64) char local[128] = {0};
    drop(resize(error ? hide(local) : take(32), size));
}

static void resize_global(bool error, size_t size) {
    drop(resize(error ? hide(global_bytes) : take(32), size));
}

static void resize_wild(bool error, size_t address) {
    drop(resize(error ? (void *)address : take(32), 100));
}

static void usable_stack(bool error, size_t arg) {
    _Alignas(64) char local[128] = {0};
    void *obj = take(64);
    usable(error ? hide(local + arg) : obj);
    drop(obj);
}

static void usable_global(bool error, size_t arg) {
    void *obj = take(64);
    usable(error ? hide(global_bytes + arg) : obj);
    drop(obj);
}

static void usable_wild(bool error, size_t address) {
    void *obj = take(64);
    usable(error ? (void *)address : obj);
    drop(obj);
}

#define ROW(name, run, arg)   {name, "invalid free", "ledger", SURE, run, arg}
#define LOOSE(name, run, arg) {name, "invalid free|misaligned free", "ledger", SURE, run, arg}
static const misuse_case cases[] = {
    ROW("free_of_stack", stack, 64),
    LOOSE("free_of_stack_misaligned", stack, 68),
    ROW("free_of_variable_length_array", stack_of_a_caller, 300),
    ROW("free_of_stack_of_a_thread", stack_of_a_thread, 0),
    ROW("free_of_global", global, 0),
    LOOSE("free_of_global_misaligned", global, 1001),
    ROW("free_of_thread_local", thread_local_bytes, 0),
    LOOSE("free_of_constant", constant, 0),
    ROW("free_of_libc_function", inside_libc, 0),
    LOOSE("free_of_libc_stream", stream_of_libc, 0),
    ROW("free_of_own_code", own_code, 0),
    LOOSE("free_of_environment", environment, 0),
    ROW("free_of_mapping", mapping, 0),
    ROW("free_of_mapping_at_a_page", mapping, 4096),
    ROW("free_of_mapping_at_2_mib", mapping, 2 << 20),
    ROW("free_of_unmapped", unmapped, 1 << 20),
    ROW("free_of_wild_low", wild, 0x10),
    LOOSE("free_of_wild_one", wild, 1),
    ROW("free_of_wild_middle", wild, 0x414141414140),
    ROW("free_of_wild_top_of_user_space", wild, 0x7ffffffff000),
    ROW("free_of_wild_kernel", wild, (size_t)-4096),
    LOOSE("free_of_wild_all_ones", wild, (size_t)-1),
    ROW("free_of_wild_not_canonical", wild, 0x4141414141414140),
    {"free_far_in_the_heap_1_mib", "invalid free|interior free", "ledger", SURE, far_in_the_heap, 1 << 20},
    {"free_far_in_the_heap_64_mib", "invalid free|interior free", "ledger", SURE, far_in_the_heap, 64 << 20},
    {"free_of_start_of_the_page", "invalid free|interior free|double free", "ledger", SURE,
     header_of_the_heap, 4095},
    /* In one run of twenty another owner's live object begins there; its free cannot be told from this one. */
    {"free_of_start_of_2_mib", "invalid free|interior free|double free", "ledger", CHANCE, header_of_the_heap,
     0x1fffff},
    {"realloc_of_stack", "invalid realloc", "realloc", SURE, resize_stack, 64},
    {"realloc_of_global", "invalid realloc", "realloc", SURE, resize_global, 100000},
    {"realloc_of_wild", "invalid realloc", "realloc", SURE, resize_wild, 0x414141414140},
    {"usable_size_of_stack", "invalid usable size", "usable", SURE, usable_stack, 0},
    {"usable_size_of_global", "invalid usable size", "usable", SURE, usable_global, 64},
    {"usable_size_of_wild", "invalid usable size", "usable", SURE, usable_wild, 0x414141414140},
};
MISUSE_GROUP(cwe590_not_heap, "590", cases);
