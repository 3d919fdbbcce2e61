/* sweep.h: looking at objects that nobody frees: a few at each refill of a bin, and all of them when the process exits.
 *
 * Live objects must have their canary and zeros after it, freed ones must be zero (slots that other threads have freed
 * only at exit, because those threads may be zeroing them just now). Stops no thread and waits for no lock: what looks
 * wrong is looked at again, and is a crime only when its record has not changed meanwhile. */
#ifndef HAK_SWEEP_H
#define HAK_SWEEP_H

#include "hardening/quarantine.h"

/* The next few slots of the slab region, or the next sampled object. About 100 ns. */
void hak_sweep_step(hak_guarded *mine);

/* The next sampled object. About 100 ns; also when another one is made, so that many of them are seen as often. */
void hak_sweep_sample(hak_guarded *mine);

/* Everything, until a bound of bytes is reached. The process's last act (a destructor of the library calls it). */
void hak_sweep_all(void);

#endif
