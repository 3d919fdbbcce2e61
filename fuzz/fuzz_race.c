/* fuzz_race.c: a program's records are dealt out to OPS_THREADS threads that run freely, for ThreadSanitizer and for
 * chance: a record goes to the thread that its slot names. THREAD puts its slot's object into a mailbox, or takes
 * one out and frees it: so threads free objects that others made. Not deterministic; the other targets are. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "fuzz/engine.h"
#include "fuzz/play.h"

enum { MAILBOX = 64 };

/* A child of a process whose threads run; ThreadSanitizer may wait for ever in one. */
#if defined(__has_feature)
#define RACE_FORKS (!__has_feature(thread_sanitizer))
#else
#define RACE_FORKS true
#endif

static pthread_mutex_t mailbox_lock = PTHREAD_MUTEX_INITIALIZER;
static shadow_object mailbox[MAILBOX];
static unsigned mails;

static play games[OPS_THREADS];
static const uint8_t *program;
static size_t program_length;

static bool post(shadow_object object) {
    pthread_mutex_lock(&mailbox_lock);
    bool room = mails < MAILBOX;
    if (room)
        mailbox[mails++] = object;
    pthread_mutex_unlock(&mailbox_lock);
    return room;
}

static bool collect(shadow_object *object) {
    pthread_mutex_lock(&mailbox_lock);
    bool any = mails != 0;
    if (any)
        *object = mailbox[--mails];
    pthread_mutex_unlock(&mailbox_lock);
    return any;
}

/* An empty slot takes a mail, and frees it as its own; a full one sends its object away. */
static bool exchange(play *game, const ops_step *step) {
    shadow_object *o = &game->model.objects[step->slot];
    shadow_object got;
    if (o->at != NULL) {
        if (post(*o)) {
            shadow_leave(&game->model, step->slot);
            game->program.slots[step->slot].live = false;
        }
        return true;
    }
    if (!collect(&got))
        return true;
    shadow_adopt(&game->model, step->slot, &got);
    return play_step(game, &(ops_step){.code = OPS_FREE, .slot = step->slot});
}

/* A process exits once: never two threads at the same time. */
static bool sweep_as_exit(play *game, const ops_step *step) {
    static pthread_mutex_t exit_lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&exit_lock);
    bool well = play_step(game, step);
    pthread_mutex_unlock(&exit_lock);
    return well;
}

static bool step_one(void *context, const ops_step *step) {
    play *game = context;
    if (step->code == OPS_EXIT)
        return sweep_as_exit(game, step);
    if (step->code == OPS_THREAD)
        return exchange(game, step);
    if (step->code == OPS_POLICY) /* options are not changed while threads run */
        return true;
    return play_step(game, step);
}

static void *run(void *context) {
    play *game = context;
    play_begin(game, &FUZZ_HEAP, program, program_length);
    game->shared = true;
    game->forks = RACE_FORKS;
    ops_program *p = &game->program;
    unsigned me = (unsigned)(game - games);
    while (p->at + OPS_RECORD <= p->length) {
        if (ops_decode(p->bytes + p->at).slot % OPS_THREADS != me)
            p->at += OPS_RECORD;
        else if (!ops_program_next(p, step_one, game))
            break;
    }
    (void)play_free_all(game);
    return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    static play last;
    pthread_t threads[OPS_THREADS];
    program = bytes;
    program_length = length;
    FUZZ_HEAP.reset(FUZZ_RESET_KEPT);
    for (unsigned i = 0; i < OPS_THREADS; i++)
        if (pthread_create(&threads[i], NULL, run, &games[i]) != 0)
            abort();
    for (unsigned i = 0; i < OPS_THREADS; i++)
        pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < OPS_THREADS; i++)
        play_demand(&games[i], "fuzz_race");
    while (mails != 0)
        FUZZ_HEAP.free(mailbox[--mails].at);
    play_begin(&last, &FUZZ_HEAP, NULL, 0);
    (void)play_end(&last);
    play_demand(&last, "fuzz_race");
    return 0;
}
