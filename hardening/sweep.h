/* sweep.h: checks objects that have not been freed: a few at each refill of a bin, and all of them when the
 * process exits.
 *
 * Live objects must have their canary and zeros after it; freed objects must be zero. Stops no thread and waits
 * for none: records, locks and counts, not time, tell an error from the middle of another thread's change
 * (look.h, docs/decisions/023). A forked child checks less: inherit.h. */
#ifndef HAK_SWEEP_H
#define HAK_SWEEP_H

#include "hardening/quarantine.h"

/* Checks the next few slots of the slab region, or the next sampled object. Takes about 100 ns. */
void hak_sweep_step(hak_guarded *mine);

/* Checks the next sampled object. Takes about 100 ns. Also called when a sampled object is made, so that many
 * of them are checked as often as few. */
void hak_sweep_sample(hak_guarded *mine);

/* Checks everything, up to a bound. The last act of the process. */
void hak_sweep_all(void);

/* True while a thread reads free memory, which must not be unmapped then. The caller has removed all tags that lead
 * to that memory. */
bool hak_sweep_running(void);

void hak_sweep_fork_child(void);

/* Ends a sweep of everything; also used in debug builds after a test has jumped out of a report. */
void hak_sweep_reset(void);

#endif
