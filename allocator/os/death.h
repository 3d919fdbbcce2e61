/* death.h: how the process ends after an error, and which thread reports first. Layer 1.
 *
 *   hak_death_turn  ->  hak_death_speak  ->  hak_death_end        the process ends
 *                                        ->  hak_death_pass       it goes on (a fault, the mode `report`)
 *
 * The program's handler of SIGABRT is called once, as abort() would do, with no lock of ours held and no cache
 * of ours in use, so it may allocate, exit or fork. When the handler ends, so does the process
 * (docs/decisions/025): while it runs, a second SIGABRT with the default action is pending. It is delivered
 * when the handler returns, and when the handler jumps away and the jump restores the signal mask, as
 * siglongjmp does. A jump that does not restore the mask is noticed at the thread's next slow call of malloc or
 * free (after a death every call is slow), at its next error, and at exit. Everything here is
 * async-signal-safe, and nothing is a cancellation point. */
#ifndef HAK_DEATH_H
#define HAK_DEATH_H

#include "allocator/base/base.h"

/* The thread that dies: process << 32 | thread; 0: none. The process is part of it, because a forked child has
 * a copy of this word but is not the process that dies. */
extern HAK_HIDDEN _Atomic uint64_t hak_death_of;

/* Waits until it is the calling thread's turn to report, then blocks its signals until hak_death_pass. False:
 * another thread's report took too long; the caller may write one line at most and goes on or ends. A second
 * turn of the same thread ends the process. */
bool hak_death_turn(void);
void hak_death_pass(void);

/* Calls report(about) on a stack of ours, because the thread may run on a small signal stack. The caller has
 * the turn. */
void hak_death_speak(void (*report)(const void *about), const void *about);

/* Called in a forked child: no thread reports or dies. Errors that the parent has found are not reported again
 * when the child exits. */
void hak_death_forget(void);

/* Ends the process by SIGABRT. `locked`: the caller may hold locks of ours, which are broken before the
 * program's handler runs. Debug builds only call abort(), for tests that jump away. */
_Noreturn void hak_death_end(bool locked);

/* True while a thread dies. Slow paths then call hak_death_look. */
HAK_INLINE bool hak_death_near(void) {
    return HAK_UNLIKELY(atomic_load_explicit(&hak_death_of, memory_order_relaxed) != 0);
}
/* Ends the process when the calling thread is the dying one and has left the program's handler. */
void hak_death_look(void);
/* Called when the process exits. Waits for another thread's report, and for its death, which ends the process.
 * True: the process exits in the handler of a death, or was forked in one, and must report nothing more. Ends
 * the process by SIGABRT when the calling thread has left its handler. */
bool hak_death_at_exit(void);

/* Prepares the thread before the handler is called. Defined in dying.c. */
void hak_dying_begin(bool locked);

#endif
