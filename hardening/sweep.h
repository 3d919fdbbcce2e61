/* sweep.h: looking at objects that nobody frees: a few at each refill of a bin, and all of them when the process exits.
 *
 * Live objects must have their canary and zeros after it, freed ones must be zero. Stops no thread and waits for none:
 * what is a error only when no thread is in the middle of something is told by records, locks and counts, not by time
 * (look.h, docs/decisions/023). A forked child looks at less: inherit.h. */
#ifndef HAK_SWEEP_H
#define HAK_SWEEP_H

#include "hardening/quarantine.h"

/* The next few slots of the slab region, or the next sampled object. About 100 ns. */
void hak_sweep_step(hak_guarded *mine);

/* The next sampled object. About 100 ns; also when another one is made, so that many of them are seen as often. */
void hak_sweep_sample(hak_guarded *mine);

/* Everything, up to a bound. The process's last act. */
void hak_sweep_all(void);

/* True when somebody reads free memory, which then may not be unmapped. Asked when no tag leads to it any more. */
bool hak_sweep_running(void);

void hak_sweep_fork_child(void);

/* No sweep of everything is going on: its end; and in debug builds, when a test has jumped out of its report. */
void hak_sweep_reset(void);

#endif
