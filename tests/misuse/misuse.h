/* misuse.h: what the misuse programs share.
 *
 * A case is one error against the heap. run(true, arg) makes the error; run(false, arg) is its twin, the same code
 * without the error. Cases use only the program's own malloc family and new/delete, so that one binary runs on every
 * allocator by LD_PRELOAD. The allocator is called through volatile pointers, and addresses pass through hide(), so
 * that no compiler can see an error and optimise it away. A case that wins an exploit primitive reports it by
 * primitive(). Only the C library and pthreads are used. */
#ifndef MISUSE_H
#define MISUSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How reliably an allocator with the needed mitigation finds the error. */
typedef enum misuse_sure {
    SURE,    /* every time, by design */
    SAMPLED, /* when the object is sampled, or lies beside a guard */
    CHANCE,  /* depends on placement or timing: usually, not always */
    NOT_WON, /* need not be detected, but no primitive may be won */
} misuse_sure;

typedef struct misuse_case {
    const char *name;   /* the error; the name on the command line */
    const char *errors; /* error texts of the crash line that are right, separated by '|' */
    const char *needs;  /* the mitigation that finds or stops it: MITIGATIONS in misuse_cases.py */
    misuse_sure sure;
    void (*run)(bool error, size_t arg);
    size_t arg;
} misuse_case;

typedef struct misuse_group {
    const char *cwe; /* "415", or "attack" */
    const misuse_case *cases;
    size_t count;
} misuse_group;

extern const misuse_group cwe415_double_free, cwe416_use_after_free, cwe122_heap_overflow,
    cwe122_overflow_found, cwe124_underwrite, cwe126_overread, cwe127_underread, cwe590_not_heap,
    cwe761_not_start, cwe762_mismatch_c, cwe762_mismatch_cc, attack_free_list, attack_double_free,
    attack_headers, attack_reuse, attack_bounds;

#define MISUSE_GROUP(id, cwe, table) const misuse_group id = {cwe, table, sizeof(table) / sizeof((table)[0])}

/* The malloc family of whatever allocator is loaded. */
extern void *(*volatile take)(size_t size);
extern void *(*volatile take_zeroed)(size_t count, size_t size);
extern void *(*volatile take_aligned)(size_t alignment, size_t size);
extern void *(*volatile resize)(void *obj, size_t size);
extern void (*volatile drop)(void *obj);
extern size_t (*volatile usable)(void *obj);
/* C23; the process exits with 77, "not offered", when the allocator has none. */
void drop_sized(void *obj, size_t size);
void drop_aligned_sized(void *obj, size_t alignment, size_t size);

/* The same pointer; the compiler does not know what it points to. */
void *hide(const volatile void *pointer);

/* Byte accesses that the compiler does not optimise away. */
void put(void *obj, ptrdiff_t offset, int value);
int get(const void *obj, ptrdiff_t offset);
void fill(void *obj, ptrdiff_t from, ptrdiff_t to, int value);

/* `rounds` times malloc and free of one `size`. */
void churn(size_t size, size_t rounds);
/* Runs fn(arg) in a new thread, and waits for its end. */
void in_thread(void (*fn)(void *), void *arg);
/* Runs fn(arg) in a child process; if a signal ends the child, the same signal ends this process. */
void in_child(void (*fn)(void *), void *arg);

/* The first fills objs with `count` new objects of `size`; the second frees all that are not NULL. */
void take_many(void **objs, size_t count, size_t size);
void drop_many(void **objs, size_t count);
/* The indexes of the two of `objs` with the least distance, the lower address first. */
typedef struct misuse_pair {
    size_t low, high;
} misuse_pair;
misuse_pair closest(void **objs, size_t count);

/* An exploit primitive was won: prints "PRIMITIVE: what" on stdout and ends the process with status 42. */
__attribute__((noreturn)) void primitive(const char *what);
/* The first calls primitive() if two of the objects overlap; the second, if one lies in [start, start + length). */
void check_overlap(void **objs, size_t count, size_t size);
void check_placed(void **objs, size_t count, const void *start, size_t length);

#ifdef __cplusplus
}
#endif

#endif /* MISUSE_H */
