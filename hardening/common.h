/* common.h: where freed slots rest that have no place in a thread's own ring: one ring per class, which all threads
 * share.
 *
 * Here rest the slots that threads free before their first state and after their last one; those that a thread frees
 * when all rings together hold what they may (ring.h); and, in their order, those of threads that have ended or that
 * free nothing of the class any more. First in, first out, but for a draw among the oldest. A slot leaves when the
 * floor of its class was freed since (tally.h), and the ring holds the floor; until then the ring becomes longer, up
 * to three floors. A place costs memory only once it is used. There are a few locks, which classes share. */
#ifndef HAK_COMMON_H
#define HAK_COMMON_H

#include "hardening/ledger.h"

/* Bytes of the slots in common rings that have memory. */
extern _Atomic size_t hak_common_held;

enum { HAK_COMMON_BATCH = 16 };

/* For each of up to HAK_COMMON_BATCH places that holds a freed slot: puts that in, and takes another slot of the class
 * out that may be handed out; NULL when none is due. Changes nothing when there is no quarantine, or no memory for the
 * rings. The slots were counted as freed. `typed`: they have a partition; those have rings of their own. True: another
 * thread was in the way. */
bool hak_common_exchange(void **objs, unsigned count, unsigned cls, bool typed);

/* Puts a slot in that was freed before, and has the stamp. Returns a slot of the class that is to go home: perhaps the
 * same; NULL: none. */
void *hak_common_rest(void *obj, unsigned cls, bool typed, uint32_t stamp);

/* Adds the bytes of the slots here that have no memory. In a forked child: counts again what the rings keep. */
void hak_common_totals(size_t *bare);
/* Number of slots of the class that rest here. */
size_t hak_common_count(unsigned cls);

/* Sends home what the rings hold beyond their floors and has rested. */
void hak_common_idle(void);
/* Memory is sparse: while the rings keep too many pages resident, sends the class home to which nothing has come for
 * the most exchanges. */
void hak_common_age(void);
/* Memory has run out, or is wanted back: sends all slots home. */
void hak_common_flush(void);

/* The locks in turn; NULL after the last one. For fork.c. */
hak_lock *hak_common_lock(unsigned i);

/* For the sweep at exit: where it goes on. It begins with class 1. */
typedef struct hak_common_place {
    unsigned kind, cls;
    uint32_t at;
} hak_common_place;

/* Goes on to the next class in which slots rest; stays if some do here. False: there is none. */
bool hak_common_next(hak_common_place *place);
hak_lock *hak_common_place_lock(const hak_common_place *place);
/* The caller holds that lock. Finds the next slot of the class that is not freed by nobody: another thread has freed it
 * again. NULL: none among the next `*left` places, or to the end of the class. */
void *hak_common_wrong(hak_common_place *place, size_t *left);

void hak_common_reset(void); /* debug builds: empties the rings */

#endif
