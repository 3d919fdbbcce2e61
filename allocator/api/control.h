/* control.h: jemalloc's names for what can be asked of an allocator and told to it, as mallctl(3) has them. Layer 5.
 * docs/JEMALLOC.md lists the names and what they mean here. A name stands for itself in the table of control_names.c,
 * where `*` is a number: of an arena, of a class. As numbers ("mib") a name is a path: of a word the row of the table
 * in which it comes first, of a number itself.
 *
 * Figures are those of the moment, not of the last epoch. Arenas and thread caches that a program makes are numbers
 * that are given out, no more. All functions are thread-safe, and keep to their stack. */
#ifndef HAK_CONTROL_H
#define HAK_CONTROL_H

#include "allocator/base/base.h"

enum { HAK_CONTROL_WORDS = 6, HAK_CONTROL_ALL = 4096, HAK_CONTROL_DESTROYED = 4097 };

/* The types of values. NOTHING: the name is a command. */
typedef enum hak_control_type {
    HAK_CONTROL_NOTHING,
    HAK_CONTROL_BOOL,
    HAK_CONTROL_UNSIGNED,
    HAK_CONTROL_SIZE, /* size_t, ssize_t, uint64_t */
    HAK_CONTROL_TEXT, /* const char *, of a static string */
} hak_control_type;

/* What each `*` stands for in a call, in their order. */
typedef struct hak_control_numbers {
    size_t at[2];
} hak_control_numbers;

typedef struct hak_control {
    const char *name;
    hak_control_type type;
    const char *text;                                     /* the value of a TEXT */
    uint64_t value;                                       /* of another, where there is no `read` */
    uint64_t (*read)(const hak_control_numbers *numbers); /* HAK_CONTROL_NONE_LEFT: none is left */
    int (*write)(const hak_control_numbers *numbers,
                 uint64_t to); /* does it, for NOTHING; returns an errno */
    bool written;              /* may be written */
    bool makes;                /* reading makes something: only when all is right */
    bool after;                /* read after it is written; else before */
} hak_control;

#define HAK_CONTROL_NONE_LEFT UINT64_MAX

/* The table, in control_names.c. */
extern HAK_HIDDEN const hak_control hak_controls[];
extern HAK_HIDDEN const unsigned hak_controls_count;

/* Whether the arena, or the class, of that number is there: for `*` in the table. */
bool hak_control_has_arena(size_t arena);
bool hak_control_has_bin(size_t bin);

/* The name's numbers, at most *count of them; *count says how many. 0 or ENOENT. */
int hak_control_find(const char *name, size_t *mib, size_t *count);

/* Reads into old (of *old_len bytes; NULL: not wanted), then writes from new_value (NULL: nothing). 0 or an errno:
 * include/hakmem_jemalloc.h. */
int hak_control_do(const size_t *mib, size_t count, void *old, size_t *old_len, const void *new_value,
                   size_t new_len);

#endif
