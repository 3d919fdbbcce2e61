/* common.h: where freed slots rest that have no place in a thread's own ring: one ring per class, which all threads
 * share.
 *
 * Here rest the slots that threads free before their first state and after their last one; those that a thread frees
 * when all rings together hold what they may (ring.h); and, in their order, those of threads that have ended or that
 * free nothing of the class any more. First in, first out, but for a draw among the oldest. A place costs memory only
 * once it is used. The hardening lock guards everything here. */
#ifndef HAK_COMMON_H
#define HAK_COMMON_H

#include "hardening/ledger.h"

/* Bytes of the slots in common rings that have memory. */
extern _Atomic size_t hak_common_held;

/* Puts a freed slot in, and takes another slot of the class out that may be handed out; NULL when none is due. Returns
 * the slot itself when there is no quarantine, or no memory for the rings. `typed`: the slot has a partition; those
 * have rings of their own. */
void *hak_common_exchange(void *obj, unsigned cls, bool typed);

/* The same for each of `count` places, some of which may be NULL before and after. */
void hak_common_exchange_batch(void **objs, unsigned count, unsigned cls, bool typed);

/* Adds the bytes of the slots here that have no memory. In a forked child: counts again what the rings keep. */
void hak_common_totals(size_t *bare);
/* Number of slots of the class that rest here. */
size_t hak_common_count(unsigned cls);

/* Memory is sparse: while the rings keep too many pages resident, sends the class home to which nothing has come for
 * the most exchanges. */
void hak_common_age(void);
/* Memory has run out, or is wanted back: sends all slots home. */
void hak_common_flush(void);

/* For the sweep at exit, which holds the hardening lock. Finds the next slot, from place *at on, that is not freed by
 * nobody: another thread has freed it again. NULL: none among the next `*left` places. *at is 0 after the last. */
void *hak_common_wrong(size_t *at, size_t *left);

void hak_common_fork_child(void);
void hak_common_reset(void); /* debug builds: empties the rings */

#endif
