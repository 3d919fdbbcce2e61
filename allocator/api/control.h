/* control.h: the names of jemalloc's mallctl(3), to read and set the allocator's state. Layer 5.
 * docs/JEMALLOC.md lists the names and their meaning here. The table in control_names.c has one row per name;
 * `*` in a name stands for the number of an arena or of a class. As numbers (a "mib"), a word becomes the
 * number of the first row whose name begins with the same words; a number stays itself.
 *
 * Figures are current; they do not wait for the next epoch. Arenas and thread caches that a program creates are
 * numbers without an effect. All functions are thread-safe, and use no memory but their stack. */
#ifndef HAK_CONTROL_H
#define HAK_CONTROL_H

#include "allocator/base/base.h"

enum { HAK_CONTROL_WORDS = 6, HAK_CONTROL_ALL = 4096, HAK_CONTROL_DESTROYED = 4097 };

/* The type of a name's value. NOTHING: the name is a command. */
typedef enum hak_control_type {
    HAK_CONTROL_NOTHING,
    HAK_CONTROL_BOOL,
    HAK_CONTROL_UNSIGNED,
    HAK_CONTROL_SIZE, /* size_t, ssize_t, uint64_t */
    HAK_CONTROL_TEXT, /* const char *, a static string */
} hak_control_type;

/* The numbers that a call has in the places of `*`, in order. */
typedef struct hak_control_numbers {
    size_t at[2];
} hak_control_numbers;

typedef struct hak_control {
    const char *name;
    hak_control_type type;
    const char *text;                                     /* the value, for TEXT */
    uint64_t value;                                       /* the value, for other types without `read` */
    uint64_t (*read)(const hak_control_numbers *numbers); /* HAK_CONTROL_NONE_LEFT: no number is left */
    int (*write)(const hak_control_numbers *numbers,
                 uint64_t to); /* for NOTHING: runs the command; returns an errno */
    bool written;              /* can be written */
    bool makes;                /* reading creates something, so all arguments are checked first */
    bool after;                /* read after the write; else before it */
} hak_control;

#define HAK_CONTROL_NONE_LEFT UINT64_MAX

/* The table, in control_names.c. */
extern HAK_HIDDEN const hak_control hak_controls[];
extern HAK_HIDDEN const unsigned hak_controls_count;

/* True when the arena, or the class, of that number exists: for `*` in the table. */
bool hak_control_has_arena(size_t arena);
bool hak_control_has_bin(size_t bin);

/* Stores the name's numbers, at most *count of them, and their number in *count. Returns 0 or ENOENT. */
int hak_control_find(const char *name, size_t *mib, size_t *count);

/* Reads the value into `old` (*old_len bytes; NULL: no read), then writes `new_value` (NULL: no write). A row
 * with `after` is read last. Returns 0 or an errno of include/hakmem_jemalloc.h. */
int hak_control_do(const size_t *mib, size_t count, void *old, size_t *old_len, const void *new_value,
                   size_t new_len);

#endif
