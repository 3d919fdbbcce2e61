/* play.h: runs steps of the operation language on a heap; the shadow model and the core's walkers verify each step.
 *
 * play.broken reports a failure: the rule, and the number of the step. After every step the walkers of the calling
 * thread's cache run, and those of everything shared when anything shared may have changed. Errors are
 * not run here: fuzz_attack.c makes them. */
#ifndef FUZZ_PLAY_H
#define FUZZ_PLAY_H

#include "fuzz/shadow.h"

/* The results of one step that a program sees; two variants must agree in them. */
typedef struct play_answer {
    bool made;     /* the call gave an object */
    int error;     /* what the call returned or left in errno; 0 when it succeeded */
    size_t usable; /* of the object that was made or queried */
} play_answer;

typedef struct play {
    ops_program program;
    shadow model;
    unsigned step;      /* number of the running step */
    const char *broken; /* NULL, or the rule that was broken */
    ops_step broken_step;
    uint64_t fail_at; /* the armed k-th failure of the OS; 0: none */
    uint64_t fail_on; /* FUZZ_OS_FAIL_ON: all from there on fail, too; else 0 */
    uint64_t walked;  /* heap->changes() at the last full walk */
    play_answer answer;
    bool os_fails; /* FAIL_OS and LIMIT take effect */
    bool forks;    /* FORK takes effect */
    bool shared;   /* other threads use the heap meanwhile: no walkers, no statistics */
} play;

/* Begins a program on a heap in its first state. */
void play_begin(play *game, const heap_api *heap, const uint8_t *bytes, size_t length);

/* Runs one step; false when a rule was broken. An ops_run_step. */
bool play_step(void *game, const ops_step *step);

/* Frees all remaining objects. False when a rule was broken. */
bool play_free_all(play *game);

/* Does the same, and checks that the statistics count none of them. False when a rule was broken. */
bool play_end(play *game);

/* Everything: begin, all steps, end, on a heap that is reset first. Returns the broken rule or NULL. */
const char *play_all(play *game, const heap_api *heap, const uint8_t *bytes, size_t length);

/* The same as a whole life, on a heap in its first state: FAIL_OS and LIMIT are obeyed, and FORK when `forks`; at the
 * end is the sweep of an exit, which must report nothing. */
const char *play_life(play *game, const heap_api *heap, const uint8_t *bytes, size_t length, bool forks);

/* Notes a broken rule for a step; NULL: none. Returns true when there is none. */
bool play_verify(play *game, const ops_step *step, const char *broken);

/* Ends the process with the rule, the step's number and its text on stderr, when a rule was broken. */
void play_demand(const play *game, const char *target);

#endif
