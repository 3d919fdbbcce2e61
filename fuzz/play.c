/* play.c: see play.h. */
#include "fuzz/play.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fuzz/ops_print.h"
#include "include/hakmem.h"

enum { ERRNO_MARK = 77 }; /* a value that no call can leave */

bool play_verify(play *game, const ops_step *step, const char *broken) {
    if (broken == NULL || game->broken != NULL)
        return game->broken == NULL;
    game->broken = broken;
    game->broken_step = *step;
    return false;
}

void play_begin(play *game, const heap_api *heap, const uint8_t *bytes, size_t length) {
    memset(game, 0, sizeof *game);
    ops_program_init(&game->program, bytes, length);
    shadow_init(&game->model, heap);
    game->walked = UINT64_MAX;
}

/* Runs the walkers that concern what the step may have changed. */
static void walk(play *game, bool all) {
    const heap_api *heap = game->model.heap;
    if (game->shared)
        return;
    uint64_t changes = heap->changes();
    if (all || changes != game->walked)
        heap->check();
    else
        heap->check_mine();
    game->walked = changes;
}

/* True when an armed failure of the OS has happened since. It is then disarmed, except for a limit, which stays. */
static bool os_has_failed(play *game) {
    if (game->fail_at == 0)
        return false;
    uint64_t seen = game->model.heap->fail_os_at(0);
    bool failed = seen >= game->fail_at;
    if (!failed) /* armed again for the rest of it */
        game->fail_at -= seen;
    else
        game->fail_at = game->fail_on != 0;
    game->model.heap->fail_os_at(game->fail_at | game->fail_on);
    return failed;
}

static bool is_pow2(size_t n) {
    return n != 0 && (n & (n - 1)) == 0;
}

/* The error that the call must give regardless of memory, 0 when it is to succeed. */
static int demanded_error(const ops_step *step) {
    bool aligned = step->code == OPS_ALIGNED_ALLOC || step->code == OPS_POSIX_MEMALIGN;
    if (aligned && !is_pow2(step->alignment))
        return EINVAL;
    if (step->code == OPS_POSIX_MEMALIGN && step->alignment % sizeof(void *) != 0)
        return EINVAL;
    bool too_much = ops_is_impossible(step->count, step->size) || step->alignment >> 40;
    return too_much ? ENOMEM : 0;
}

/* Verifies a call that gave NULL: it must have had a reason, set the right errno, and have changed nothing. */
static const char *verify_refusal(play *game, const ops_step *step, int error) {
    int demanded = demanded_error(step);
    if (demanded == 0 && !os_has_failed(game))
        return "no memory, though the OS has refused nothing";
    if (error != (demanded != 0 ? demanded : ENOMEM))
        return "a refusal with the wrong error";
    const char *broken = shadow_verify_all(&game->model);
    walk(game, true);
    return broken;
}

static void *call_make(const heap_api *heap, const ops_step *step, int *error) {
    void *obj = NULL;
    errno = ERRNO_MARK;
    switch (step->code) {
    case OPS_MALLOC:
        obj = heap->malloc(step->size);
        break;
    case OPS_CALLOC:
        obj = heap->calloc(step->count, step->size);
        break;
    case OPS_ALIGNED_ALLOC:
        obj = heap->aligned_alloc(step->alignment, step->size);
        break;
    case OPS_MEMALIGN:
        obj = heap->memalign(step->alignment, step->size);
        break;
    default:
        *error = heap->posix_memalign(&obj, step->alignment, step->size);
        return obj;
    }
    *error = obj != NULL ? 0 : errno;
    return obj;
}

static const char *made(play *game, const ops_step *step, void *obj) {
    game->program.slots[step->slot] = ops_slot_made(step, true);
    const char *broken = shadow_enter(&game->model, step->slot, obj, step);
    game->answer.made = true;
    game->answer.usable = game->model.objects[step->slot].extent;
    return broken;
}

static const char *run_make(play *game, const ops_step *step) {
    int error = 0;
    void *obj = call_make(game->model.heap, step, &error);
    if (step->code == OPS_POSIX_MEMALIGN && errno != ERRNO_MARK)
        return "posix_memalign changed errno";
    game->answer.error = error;
    if (obj == NULL)
        return verify_refusal(game, step, error);
    if (demanded_error(step) != 0 || error != 0)
        return "an impossible request was met";
    if (step->code == OPS_CALLOC) {
        const char *broken = shadow_verify_zero(obj, step->count * step->size);
        if (broken != NULL)
            return broken;
    }
    return made(game, step, obj);
}

static const char *run_resize(play *game, const ops_step *step) {
    const heap_api *heap = game->model.heap;
    shadow_object *o = &game->model.objects[step->slot];
    const char *broken = shadow_verify(&game->model, step->slot);
    if (broken != NULL)
        return broken;
    errno = ERRNO_MARK;
    void *obj = step->code == OPS_REALLOC ? heap->realloc(o->at, step->size)
                                          : heap->reallocarray(o->at, step->count, step->size);
    size_t size = step->count * step->size;
    bool impossible = ops_is_impossible(step->count, step->size);
    if (o->at != NULL && size == 0 && !impossible) { /* ends the object */
        shadow_leave(&game->model, step->slot);
        game->program.slots[step->slot].live = false;
        return obj == NULL ? NULL : "realloc to 0 bytes gave an object";
    }
    game->answer.error = obj == NULL ? errno : 0;
    if (obj == NULL)
        return verify_refusal(game, step, errno);
    if (impossible)
        return "an impossible request was met";
    broken = shadow_verify_prefix(&game->model, step->slot, obj, size < o->size ? size : o->size);
    return broken != NULL ? "realloc lost the object's bytes" : made(game, step, obj);
}

static const char *run_free(play *game, const ops_step *step) {
    const heap_api *heap = game->model.heap;
    void *obj = game->model.objects[step->slot].at;
    const char *broken = shadow_verify(&game->model, step->slot);
    if (broken != NULL)
        return broken;
    errno = ERRNO_MARK;
    if (step->code == OPS_FREE)
        heap->free(obj);
    else if (step->code == OPS_FREE_SIZED)
        heap->free_sized(obj, step->size);
    else
        heap->free_aligned_sized(obj, step->alignment, step->size);
    if (errno != ERRNO_MARK)
        return "free changed errno";
    shadow_leave(&game->model, step->slot);
    game->program.slots[step->slot].live = false;
    return NULL;
}

/* The k-th call of the OS from now fails, alone or with all after it; 0: none fails. */
static void arm(play *game, uint64_t k, uint64_t on) {
    if (!game->os_fails)
        return;
    game->fail_at = k;
    game->fail_on = k != 0 ? on : 0;
    game->model.heap->fail_os_at(game->fail_at | game->fail_on);
}

/* The child: it finds its parent's objects, makes some of its own, frees all, and ends as a process does. */
static const char *live_in_child(play *game) {
    const heap_api *heap = game->model.heap;
    for (size_t size = 1; size < OPS_BIG; size *= 3) {
        void *mine[4];
        for (int i = 0; i < 4; i++)
            mine[i] = heap->malloc(size);
        for (int i = 0; i < 4; i++)
            heap->free(mine[i]);
    }
    if (!play_free_all(game))
        return game->broken;
    heap->exit_sweep();
    walk(game, true);
    return NULL;
}

static const char *run_fork(play *game) {
    fflush(NULL);
    pid_t child = game->forks ? fork() : -1;
    if (child == 0) {
        const char *broken = live_in_child(game);
        if (broken != NULL)
            fprintf(stderr, "in a child: %s\n", broken);
        _exit(broken != NULL);
    }
    int status = 0;
    if (child > 0 && waitpid(child, &status, 0) != child)
        return "a child was lost";
    return status == 0 ? NULL : "a child did not end well";
}

static const char *run_trim(play *game, const ops_step *step) {
    hak_stats before, after;
    game->model.heap->stats_read(&before);
    int given = game->model.heap->trim(step->size);
    game->model.heap->stats_read(&after);
    if (given != 0 && given != 1)
        return "trim answered neither 0 nor 1";
    bool free_memory = after.free_dirty_bytes > step->size && !game->shared;
    if (free_memory && game->fail_at == 0 && !os_has_failed(game))
        return "trim left more free memory than it may keep";
    return NULL;
}

static const char *run_other(play *game, const ops_step *step) {
    static const size_t targets[4] = {0, 1 << 20, 10 << 20, SIZE_MAX / 2};
    const heap_api *heap = game->model.heap;
    switch (step->code) {
    case OPS_USABLE_SIZE:
        game->answer.usable = heap->usable_size(game->model.objects[step->slot].at);
        return shadow_verify_usable(&game->model, step->slot);
    case OPS_WRITE:
        shadow_write(&game->model, step->slot);
        return NULL;
    case OPS_VERIFY:
        return shadow_verify(&game->model, step->slot);
    case OPS_TRIM:
        return run_trim(game, step);
    case OPS_POLICY:
        heap->set_policy(step->detail & 1, step->detail >> 1 == 3 ? 1 + (step->arg >> 2 & 1) : 0,
                         targets[step->arg & 3]);
        return NULL;
    case OPS_STATS:
        return game->shared ? NULL : shadow_verify_stats(&game->model);
    case OPS_CHECK:
        walk(game, true);
        return shadow_verify_all(&game->model);
    case OPS_FAIL_OS:
        arm(game, 1 + (step->arg & 15), 0);
        return NULL;
    case OPS_LIMIT:
        arm(game, step->arg & 15, FUZZ_OS_FAIL_ON);
        return NULL;
    case OPS_AGE:
        heap->pass_time(step->arg);
        return NULL;
    case OPS_EXIT:
        heap->exit_sweep();
        return NULL;
    case OPS_FORK:
        return run_fork(game);
    default: /* threads and errors belong to the targets that have them */
        return NULL;
    }
}

static const char *run(play *game, const ops_step *step) {
    switch (step->code) {
    case OPS_MALLOC:
    case OPS_CALLOC:
    case OPS_ALIGNED_ALLOC:
    case OPS_POSIX_MEMALIGN:
    case OPS_MEMALIGN:
        return run_make(game, step);
    case OPS_REALLOC:
    case OPS_REALLOCARRAY:
        return run_resize(game, step);
    case OPS_FREE:
    case OPS_FREE_SIZED:
    case OPS_FREE_ALIGNED_SIZED:
        return run_free(game, step);
    default:
        return run_other(game, step);
    }
}

bool play_step(void *context, const ops_step *step) {
    play *game = context;
    game->step++;
    game->answer = (play_answer){0};
    const char *broken = run(game, step);
    if (broken == NULL)
        walk(game, false);
    return play_verify(game, step, broken);
}

/* After the last free, nothing is in use once the bins and depots are empty; the hardened variant may hold some
 * objects in quarantine. Programs of 63 records and the like then also give the memory back; not all do, because
 * page faults are the largest cost of an input. */
static const char *verify_empty(play *game) {
    const heap_api *heap = game->model.heap;
    bool give_back = game->program.length / OPS_RECORD % 64 == 63;
    heap->fail_os_at(game->fail_at = game->fail_on = 0);
    (void)heap->trim(give_back ? 0 : SIZE_MAX);
    hak_stats now;
    heap->stats_read(&now);
    walk(game, true);
    if (heap->hardened)
        return NULL;
    if (now.live_objects != 0 || now.live_large_bytes != 0 || now.live_slab_bytes != 0 || now.superslabs != 0)
        return "all is freed, but the statistics still count something as live";
    return give_back && now.free_dirty_bytes != 0 ? "trim(0) left free memory with the process" : NULL;
}

bool play_free_all(play *game) {
    bool going = game->broken == NULL;
    for (unsigned slot = 0; slot < OPS_SLOTS && going; slot++)
        if (game->model.objects[slot].at != NULL)
            going = play_step(game, &(ops_step){.code = OPS_FREE, .slot = slot});
    return going;
}

bool play_end(play *game) {
    return play_free_all(game) && play_verify(game, &(ops_step){.code = OPS_CHECK}, verify_empty(game));
}

const char *play_all(play *game, const heap_api *heap, const uint8_t *bytes, size_t length) {
    heap->reset(FUZZ_RESET_KEPT);
    play_begin(game, heap, bytes, length);
    while (ops_program_next(&game->program, play_step, game))
        ;
    (void)play_end(game);
    return game->broken;
}

const char *play_life(play *game, const heap_api *heap, const uint8_t *bytes, size_t length, bool forks) {
    play_begin(game, heap, bytes, length);
    game->os_fails = true;
    game->forks = forks;
    while (ops_program_next(&game->program, play_step, game))
        ;
    if (play_free_all(game)) {
        heap->exit_sweep();
        (void)play_end(game);
    }
    return game->broken;
}

void play_demand(const play *game, const char *target) {
    if (game->broken == NULL)
        return;
    char text[OPS_TEXT_MAX];
    ops_print_step(text, &game->broken_step);
    fprintf(stderr, "%s, %s, step %u, %s: %s\n", target, game->model.heap->name, game->step, text,
            game->broken);
    abort();
}
