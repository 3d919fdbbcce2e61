/* death.h: how the process ends when something was found that must not be, and whose report comes first. Layer 1.
 *
 *   hak_death_turn  ->  hak_death_speak  ->  hak_death_end        the process ends
 *                                        ->  hak_death_pass       it goes on (a fault, the mode `report`)
 *
 * The program's handler of SIGABRT is called once, as abort() would, with no lock of ours held and no cache of ours
 * in use, so it may allocate, exit or fork. However it ends, so does the process (docs/decisions/025): the signal is
 * already pending a second time, with the default action, while the handler runs. It is delivered when the handler
 * returns, and when it jumps away and the jump restores the signals, as siglongjmp does. One that does not restore
 * them is noticed at the thread's next call of malloc or free that takes more than the thread's cache has (after a
 * death that is every one), at its next error, and at exit. Everything here is async-signal-safe; nothing is a
 * cancellation point. */
#ifndef HAK_DEATH_H
#define HAK_DEATH_H

#include "allocator/base/base.h"

/* Who reports, who dies: process << 32 | thread; 0: nobody. By process, because a forked child has all of this, too,
 * and it is not the one that dies. */
extern HAK_HIDDEN _Atomic uint64_t hak_death_of;

/* The calling thread's turn to report; its signals are shut until hak_death_pass. When others report it waits for
 * them. False: that took too long, and it is to go on, or end, with a line at most. The second turn of one thread
 * ends the process. */
bool hak_death_turn(void);
void hak_death_pass(void);

/* Calls report(about) on a stack of ours: the thread's may be a small one, that signals are handled on. For who has
 * the turn. */
void hak_death_speak(void (*report)(const void *about), const void *about);

/* In a forked child: nobody reports, nobody dies. What the parent has found wrong is not found again when the child
 * exits. */
void hak_death_forget(void);

/* Ends the process by SIGABRT. `locked`: the caller may hold locks of ours; they are broken before the program's
 * handler runs. Debug builds: abort() and no more, for tests that jump away. */
_Noreturn void hak_death_end(bool locked);

/* Somebody dies at this moment: what is slow anyway asks hak_death_look, too. */
HAK_INLINE bool hak_death_near(void) {
    return HAK_UNLIKELY(atomic_load_explicit(&hak_death_of, memory_order_relaxed) != 0);
}
/* Ends the process when the calling thread is the one that dies, and has left the handler. */
void hak_death_look(void);
/* When the process exits: waits for another thread's report, and for its end, which is that of the process. True:
 * the process exits in the handler of a death, or was forked there, and nothing is left to be found out. A thread
 * that has left its handler ends the process by SIGABRT here. */
bool hak_death_at_exit(void);

/* dying.c: what the thread leaves before the handler is called. */
void hak_dying_begin(bool locked);

#endif
