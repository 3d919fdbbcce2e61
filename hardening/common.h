/* common.h: where freed slots rest that no thread's own ring has place for: a ring per class that all threads share.
 *
 * What threads free before their first state and after their last one; what a thread frees when all rings together hold
 * what they may (ring.h); what threads held that have ended, or that free nothing of the class any more, in the order
 * in which it came. First in, first out, but for a draw among the oldest. Places cost memory only as they are used.
 * Guarded by the hardening lock. */
#ifndef HAK_COMMON_H
#define HAK_COMMON_H

#include "hardening/ledger.h"

/* Bytes of the slots in common rings, of those that have memory. */
extern _Atomic size_t hak_common_held;

/* Puts a freed slot in and takes another one of the class out, which is free to be handed out; NULL when none is due.
 * `typed`: it has a partition; those have rings of their own. The slot itself when there is no quarantine, or no memory
 * for the rings. */
void *hak_common_exchange(void *obj, unsigned cls, bool typed);

/* The same for each of `count` places, some of which may be NULL before and after. */
void hak_common_exchange_batch(void **objs, unsigned count, unsigned cls, bool typed);

/* Adds what all of them hold without memory, and what they may pin (ring.h). */
void hak_common_totals(size_t *bare, size_t *pinned);
/* How many slots of the class rest there. */
size_t hak_common_count(unsigned cls);

/* Memory is sparse: while what rests pins too much, gives home classes of which nothing has come for a moment, those
 * first of which nothing has for longest. `now`: milliseconds. */
void hak_common_age(uint64_t now);
/* Gives home all of them, because memory has run out or is wanted back. */
void hak_common_flush(void);

/* The sweep at exit; the hardening lock is held. The next slot from place *at on that is not freed by nobody: a thread
 * has freed it after another one did. NULL: not among the next `*left` places; *at is 0 when there are no more. */
void *hak_common_wrong(size_t *at, size_t *left);

void hak_common_fork_child(void);
void hak_common_reset(void); /* debug builds: the rings are empty */

#endif
