/* fuzz_threads.c: programs over OPS_THREADS threads under a schedule that the input gives: all threads but one are
 * parked, THREAD names the one that runs, THREAD_END ends it, and the thread that runs frees objects of any other.
 * Thread 0 is the main thread; it cannot end, but it can lose its cache, as in a destructor that runs after the
 * allocator's own. */
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>

#include "fuzz/engine.h"
#include "fuzz/play.h"

typedef struct worker {
    pthread_t thread;
    bool begun;
    sem_t go, done;
    const ops_step *step; /* NULL: the thread is to end */
    bool went_well;
} worker;

static play game;
static worker workers[OPS_THREADS];
static unsigned running; /* index of the thread that the schedule lets run */

static void must(int result, const char *what) {
    if (result == 0)
        return;
    fprintf(stderr, "fuzz_threads: %s failed\n", what);
    exit(1);
}

static void wait_for(sem_t *semaphore) {
    while (sem_wait(semaphore) != 0)
        ;
}

static void *work(void *context) {
    worker *me = context;
    for (;;) {
        wait_for(&me->go);
        if (me->step == NULL)
            return NULL;
        me->went_well = play_step(&game, me->step);
        sem_post(&me->done);
    }
}

static void begin(worker *w) {
    must(sem_init(&w->go, 0, 0) | sem_init(&w->done, 0, 0), "sem_init");
    must(pthread_create(&w->thread, NULL, work, w), "pthread_create");
    w->begun = true;
}

static void end(worker *w) {
    if (!w->begun)
        return;
    w->step = NULL;
    sem_post(&w->go);
    must(pthread_join(w->thread, NULL), "pthread_join");
    w->begun = false;
}

static bool run_on(worker *w, const ops_step *step) {
    if (w == &workers[0])
        return play_step(&game, step);
    if (!w->begun)
        begin(w);
    w->step = step;
    sem_post(&w->go);
    wait_for(&w->done);
    return w->went_well;
}

/* A pool of threads: each has objects of its own, and ends. */
static bool run_pool(const ops_step *step) {
    enum { SLOT = OPS_SLOTS - OPS_THREADS, PAIRS = 16 };
    bool well = true;
    for (unsigned i = 1; i < OPS_THREADS && well; i++) {
        end(&workers[i]);
        for (unsigned n = 0; n < PAIRS && well; n++) {
            ops_step make = {.code = OPS_MALLOC, .slot = SLOT + i, .count = 1, .size = step->size},
                     drop = {.code = OPS_FREE, .slot = SLOT + i};
            if (game.model.objects[SLOT + i].at != NULL)
                well = run_on(&workers[i], &drop);
            well = well && run_on(&workers[i], &make);
        }
        end(&workers[i]); /* any later thread frees its last object */
    }
    return well;
}

static bool schedule(void *context, const ops_step *step) {
    (void)context;
    if (step->code == OPS_POOL)
        return run_pool(step);
    if (step->code == OPS_THREAD)
        running = step->arg % OPS_THREADS;
    else if (step->code == OPS_THREAD_END && running == 0)
        FUZZ_HEAP.thread_end();
    else if (step->code == OPS_THREAD_END)
        end(&workers[running]);
    return run_on(&workers[running], step);
}

/* One thread runs at a time: on one processor a hand-over needs no interrupt of another, which costs several times
 * as much. Where pinning is forbidden it is only slower. True when `before` is to be restored. */
static bool stay_here(cpu_set_t *before) {
    cpu_set_t here;
    int cpu = sched_getcpu();
    CPU_ZERO(&here);
    if (cpu >= 0 && cpu < CPU_SETSIZE)
        CPU_SET(cpu, &here);
    return sched_getaffinity(0, sizeof *before, before) == 0 && sched_setaffinity(0, sizeof here, &here) == 0;
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    /* What happens once per process is no part of an input: from here on the process counts as one of several
     * threads, and takes locks as such a process does. */
    begin(&workers[1]);
    end(&workers[1]);
    FUZZ_HEAP.reset(FUZZ_RESET_KEPT);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    cpu_set_t before;
    bool pinned = stay_here(&before);
    play_begin(&game, &FUZZ_HEAP, bytes, length);
    game.forks = true;
    running = 0;
    while (ops_program_next(&game.program, schedule, NULL))
        ;
    bool going = play_free_all(&game);
    for (unsigned i = 1; i < OPS_THREADS; i++)
        end(&workers[i]);
    if (going)
        (void)play_end(&game);
    play_demand(&game, "fuzz_threads");
    if (pinned)
        (void)sched_setaffinity(0, sizeof before, &before);
    FUZZ_HEAP.reset(
        FUZZ_RESET_KEPT); /* last in its own program, so that all coverage comes from this input */
    return 0;
}
