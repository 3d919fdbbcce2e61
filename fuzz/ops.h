/* ops.h: the operation language of every fuzz target and property: any byte string is a program.
 *
 *   record   | mod:3 code:5 | slot:8 | arg:16, little endian |      a rest of less than four bytes is ignored
 *
 * A program works on OPS_SLOTS slots, each empty or the owner of one object. A record is lowered to steps: plain
 * calls with their numbers, some of which depend on the slot's object. Targets run steps and the printers print
 * them, so the printed steps are the steps that ran. docs/FUZZING.md has the table of the operations. */
#ifndef FUZZ_OPS_H
#define FUZZ_OPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    OPS_RECORD = 4,
    OPS_SLOTS = 256,
    OPS_CODES = 32,
    OPS_MODS = 8,
    OPS_THREADS = 4,
    OPS_RECORDS_MAX = 1024,    /* later records of a program are ignored */
    OPS_STEPS_MAX = 4096,      /* and later steps, so that an input's time is bounded */
    OPS_PURGES_MAX = 2,        /* and how often memory may go back to the OS */
    OPS_FORKS_MAX = 1,         /* and how many children it may have */
    OPS_BIG = 32 * 1024,       /* calls that touch more than this draw from the program's budget, */
    OPS_BUDGET = 3 << 20,      /* this many bytes; when it is spent, sizes are taken modulo OPS_BIG */
    OPS_IMPOSSIBLE_SHIFT = 47, /* requests from 2^47 bytes on cannot be met by the address space of x86-64 */
};

/* In the order of their codes. */
#define OPS_TABLE(X)                                                                                         \
    X(MALLOC)                                                                                                \
    X(CALLOC)                                                                                                \
    X(ALIGNED_ALLOC)                                                                                         \
    X(POSIX_MEMALIGN)                                                                                        \
    X(MEMALIGN)                                                                                              \
    X(ALIGNED_ANY)                                                                                           \
    X(REALLOC)                                                                                               \
    X(REALLOCARRAY)                                                                                          \
    X(RESIZE_BY)                                                                                             \
    X(FREE)                                                                                                  \
    X(FREE_SIZED)                                                                                            \
    X(FREE_ALIGNED_SIZED)                                                                                    \
    X(USABLE_SIZE)                                                                                           \
    X(WRITE)                                                                                                 \
    X(VERIFY)                                                                                                \
    X(BURST)                                                                                                 \
    X(SWEEP)                                                                                                 \
    X(TRIM)                                                                                                  \
    X(POLICY)                                                                                                \
    X(STATS)                                                                                                 \
    X(LIFE)                                                                                                  \
    X(THREAD)                                                                                                \
    X(THREAD_END)                                                                                            \
    X(FAIL_OS)                                                                                               \
    X(RECYCLE_ZEROED)                                                                                        \
    X(BAD_FREE)                                                                                              \
    X(BAD_SIZE)                                                                                              \
    X(BAD_ALIGNMENT)                                                                                         \
    X(OVERFLOW)                                                                                              \
    X(UNDERFLOW)                                                                                             \
    X(WRITE_AFTER_FREE)                                                                                      \
    X(USE_FREED)

/* Events of the process as a whole: the record LIFE selects one by its mod, in this order. */
#define OPS_LIFE_TABLE(X)                                                                                    \
    X(CHECK)                                                                                                 \
    X(PHASE)                                                                                                 \
    X(AGE)                                                                                                   \
    X(FORK)                                                                                                  \
    X(EXIT)                                                                                                  \
    X(LIMIT)                                                                                                 \
    X(DRAIN)                                                                                                 \
    X(POOL)

typedef enum ops_code {
#define X(name) OPS_##name,
    OPS_TABLE(X) OPS_LIFE_TABLE(X) OPS_STEP_CODES /* codes from OPS_CODES on are for steps, not records */
#undef X
} ops_code;

typedef struct ops_record {
    ops_code code;
    uint8_t mod; /* 0 to 7 */
    uint8_t slot;
    uint16_t arg;
} ops_record;

/* The operation of a step. RECYCLE_ZEROED, BURST, SWEEP, RESIZE_BY, ALIGNED_ANY, LIFE, PHASE and DRAIN are lowered
 * to others and are no steps. */
typedef struct ops_step {
    ops_code code;
    unsigned slot;
    size_t size;      /* requested bytes; of TRIM, bytes to keep */
    size_t count;     /* CALLOC, REALLOCARRAY: members; of `size` bytes each */
    size_t alignment; /* of the aligned calls and FREE_ALIGNED_SIZED */
    unsigned detail;  /* mod of the record */
    unsigned arg;     /* of the record */
} ops_step;

/* The facts about a slot that lowering needs. */
typedef struct ops_slot {
    bool live;
    size_t size;      /* as requested */
    size_t alignment; /* as requested; 0: by a call without an alignment */
    bool unsized;     /* by posix_memalign or memalign, for which C23 has no sized free */
} ops_slot;

/* A program being lowered. The code that runs the steps keeps slots[] up to date. */
typedef struct ops_program {
    const uint8_t *bytes;
    size_t length;
    size_t at;     /* next record */
    size_t budget; /* bytes left for big objects */
    unsigned steps_left, purges_left, forks_left;
    ops_slot slots[OPS_SLOTS];
} ops_program;

/* Called for each step; false ends the program. */
typedef bool (*ops_run_step)(void *context, const ops_step *step);

ops_record ops_decode(const uint8_t bytes[OPS_RECORD]);
void ops_encode(ops_record record, uint8_t bytes[OPS_RECORD]);

const char *ops_name(ops_code code);

/* The size in bytes that an arg encodes: see ops.c for the eight scales. */
size_t ops_size(uint16_t arg);

/* True for an error: an operation that a program must not do. */
bool ops_is_error(ops_code code);

void ops_program_init(ops_program *program, const uint8_t *bytes, size_t length);

/* Lowers the next record and calls `run` for its steps; false at the end of the program, or when `run` returned
 * false. */
bool ops_program_next(ops_program *program, ops_run_step run, void *context);

/* Updates program->slots[] as if the step had succeeded; for code that prints instead of running. */
void ops_program_assume(ops_program *program, const ops_step *step);

/* The slot after a call that makes or resizes its object. */
ops_slot ops_slot_made(const ops_step *step, bool live);

/* True when no allocator can provide so much: the call must fail. */
bool ops_is_impossible(size_t count, size_t size);

#endif
