/* fuzz_attack.c: programs that make an error on the hardened variant. After any correct beginning, the first error
 * that is possible is made, and must be found: at once, when the object is freed, or by the sweep at every exit; and
 * under a fitting name. An error that is not found ends the fuzzer. Nothing is demanded where docs/THREATS.md
 * promises nothing: writes into large objects whose address space is given back already, into memory before the
 * first slot of a slab that no slab has, and errors that a recycled address hides. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/engine.h"
#include "fuzz/ops_print.h"
#include "fuzz/play.h"
#include "fuzz/verdict.h"

enum { NAME_MAX_BYTES = 64, LARGE = 256 * 1024 };

typedef struct error {
    const ops_step *step;
    shadow_object *o; /* of the step's slot */
    play *game;
    char *target;      /* the address that is freed or written; NULL: the error cannot be made now */
    bool demanded;     /* it must be found */
    const char *names; /* that fit, separated by commas */
} error;

static char global_bytes[256] __attribute__((aligned(64)));

/* True when the address lies in a live object, at its start or inside. */
static bool is_live(const shadow *model, const void *addr) {
    for (unsigned i = 0; i < model->live; i++)
        if ((uintptr_t)addr >= model->first[i] && (uintptr_t)addr <= model->last[i])
            return true;
    return false;
}

/* An address other than the one that malloc returned. */
static void plan_bad_free(error *c, char *stack_bytes, char *other_heap) {
    unsigned arg = c->step->arg;
    size_t size = c->o->size;
    switch (c->step->detail) {
    case 0:
        c->target = c->o->ghost != NULL && !is_live(&c->game->model, c->o->ghost) ? c->o->ghost : NULL;
        c->names = "double free,invalid free,interior free,misaligned free";
        return;
    case 1:
    case 7:
        c->target =
            c->o->at != NULL && size > 16 ? (char *)c->o->at + 16 * (1 + arg % ((size - 1) / 16)) : NULL;
        c->names = "interior free,misaligned free";
        return;
    case 2:
        c->target =
            c->o->at != NULL && size != 0 ? (char *)c->o->at + 1 + arg % (size < 15 ? size : 15) : NULL;
        c->names = "misaligned free,interior free";
        return;
    case 3:
        c->target = stack_bytes + 16 * (arg % 8);
        break;
    case 4:
        c->target = global_bytes + 16 * (arg % 8);
        break;
    case 5:
        c->target = other_heap;
        break;
    default:
        c->target = (char *)(uintptr_t)(8 + arg);
        break;
    }
    c->names = "invalid free";
}

static void flip(volatile char *at, unsigned count, unsigned how) {
    for (unsigned i = 0; i < count; i++)
        at[i] ^= (char)(how | 1);
}

static void run_bad_free(void *context) {
    error *c = context;
    c->game->model.heap->free(c->target);
}

static void run_bad_size(void *context) {
    error *c = context;
    static const size_t off[8] = {1, (size_t)-1, 8, (size_t)-8, 16, 4096, (size_t)1 << 32, (size_t)-16};
    c->game->model.heap->free_sized(c->o->at, c->o->size + off[c->step->detail]);
}

static void run_bad_alignment(void *context) {
    error *c = context;
    size_t said = (size_t)32 << c->step->detail;
    if (said >= c->o->alignment && said / 2 < c->o->alignment) /* memalign rounds up */
        said *= 2;
    c->game->model.heap->free_aligned_sized(c->o->at, said, c->o->size);
}

static void run_overflow(void *context) {
    error *c = context;
    flip((char *)c->o->at + c->o->size, c->step->detail + 1, c->step->arg);
    c->game->model.heap->free(c->o->at);
}

static void run_underflow(void *context) {
    error *c = context;
    flip((char *)c->o->at - (c->step->detail + 1), c->step->detail + 1, c->step->arg);
    c->game->model.heap->free(c->o->at);
    c->game->model.heap->exit_sweep();
}

static void run_write_after_free(void *context) {
    error *c = context;
    flip((char *)c->o->ghost + c->step->arg % c->o->ghost_size, 1, c->step->detail);
    c->game->model.heap->exit_sweep();
}

static void run_use_freed(void *context) {
    error *c = context;
    if (c->step->detail & 1)
        (void)c->game->model.heap->realloc(c->o->ghost, c->step->arg + 1u);
    else
        (void)c->game->model.heap->usable_size(c->o->ghost);
}

/* Chooses the error of the step and the demanded result; c->target is NULL when the error cannot be made now. */
static void (*plan(error *c, char *stack_bytes, char *other_heap))(void *) {
    bool live = c->o->at != NULL, ghost = c->o->ghost != NULL && !is_live(&c->game->model, c->o->ghost);
    c->demanded = true;
    c->target = live ? (char *)c->o->at : NULL;
    switch (c->step->code) {
    case OPS_BAD_FREE:
        plan_bad_free(c, stack_bytes, other_heap);
        return run_bad_free;
    case OPS_BAD_SIZE:
        c->names = "size mismatch,alignment mismatch";
        return run_bad_size;
    case OPS_BAD_ALIGNMENT:
        c->names = "alignment mismatch";
        return run_bad_alignment;
    case OPS_OVERFLOW:
        c->names = "heap overflow,out-of-bounds access";
        return run_overflow;
    case OPS_UNDERFLOW:
        if (!live || c->o->large || c->game->model.heap->capacity((char *)c->o->at - 1) == 0)
            c->target = NULL;
        c->names = "heap overflow,heap underflow,write after free,out-of-bounds access,use after free";
        return run_underflow;
    case OPS_WRITE_AFTER_FREE:
        c->target = ghost && c->o->ghost_size != 0 ? c->o->ghost : NULL;
        c->demanded = c->o->ghost_size <= LARGE / 2;
        c->names = "write after free,use after free,out-of-bounds access";
        return run_write_after_free;
    default:
        c->target = ghost ? c->o->ghost : NULL;
        c->names = "invalid realloc,invalid usable size";
        return run_use_freed;
    }
}

static void verify(const error *c, const verdict *v) {
    char name[NAME_MAX_BYTES] = "nothing", text[OPS_TEXT_MAX];
    bool named = verdict_error(v, name, sizeof name);
    bool found = v->died && named && strstr(c->names, name) != NULL;
    if (found || (!v->died && !c->demanded))
        return;
    ops_print_step(text, c->step);
    fprintf(stderr, "fuzz_attack: step %u, %s, object %p of %zu bytes: found %s; expected one of: %s\n%s",
            c->game->step, text, (void *)c->o->at, c->o->size, v->died ? name : "nothing", c->names, v->text);
    abort();
}

static bool is_clean; /* the heap, since an error */

/* Guards must fault here. */
static void reset(void) {
    if (!is_clean)
        FUZZ_HEAP.reset(FUZZ_RESET_GUARDED);
    is_clean = true;
}

/* Makes the error, if it is possible; otherwise returns false: the program is over. */
static bool commit(play *game, const ops_step *step) {
    static verdict v;
    char stack_bytes[256] __attribute__((aligned(64)));
    char *other_heap = malloc(64);
    error c = {.step = step, .game = game, .o = &game->model.objects[step->slot]};
    void (*deed)(void *) = plan(&c, stack_bytes, other_heap);
    bool committed = c.target != NULL;
    if (committed) {
        verdict_of(deed, &c, &v);
        verify(&c, &v);
        is_clean = false;
        reset(); /* otherwise the sweep at the end of the process finds the error once more */
    }
    free(other_heap);
    return !committed;
}

static bool step_or_error(void *context, const ops_step *step) {
    play *game = context;
    if (!ops_is_error(step->code))
        return play_step(game, step);
    game->step++;
    return commit(game, step);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    reset(); /* what happens once per process is no part of an input */
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    static play game;
    play_begin(&game, &FUZZ_HEAP, bytes, length);
    while (ops_program_next(&game.program, step_or_error, &game))
        is_clean = false;
    play_demand(&game, "fuzz_attack");
    reset(); /* last in its own program, so that all coverage comes from this input */
    return 0;
}
