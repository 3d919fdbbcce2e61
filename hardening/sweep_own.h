/* sweep_own.h: shared by sweep.c (a few slots at each refill) and sweep_exit.c (all slots at exit). */
#ifndef HAK_SWEEP_OWN_H
#define HAK_SWEEP_OWN_H

#include "hardening/look.h"
#include "hardening/sample.h"
#include "hardening/sweep.h"

enum { HAK_SWEEP_SAMPLE_REACH = 64 }; /* bytes before and after a sampled object */

/* A slab, as the ledger's entries of its granules describe it. */
typedef struct hak_sweep_slab {
    const hak_record *run;
    uintptr_t start;
    const hak_class_info *info;
    unsigned cls;
} hak_sweep_slab;

/* Finds the slab at the address; false: none, or it is hollow. */
bool hak_sweep_slab_at(const hak_ledger_region *ledger, uintptr_t addr, hak_sweep_slab *out);

/* The view of the whole slot `slot`. */
HAK_INLINE hak_view hak_sweep_slot(const hak_sweep_slab *slab, uint32_t slot) {
    uintptr_t start = slab->start + (uintptr_t)slot * slab->info->size;
    return (hak_view){slab->run + slot, start, slab->info->size, start, start + slab->info->size, slab->cls};
}

/* The number of the thread that freed the slot of the record. */
HAK_INLINE uint32_t hak_sweep_owner(uint32_t word) {
    return word >> HAK_RECORD_OWNER_SHIFT & (HAK_RECORD_OWNERS - 1);
}

/* Reports the error unless the check is off. */
void hak_sweep_report(const char *error, hak_check check, const char *call, uintptr_t obj, const char *what,
                      const void *bad);

/* Checks the bytes of the slot that the view shows, and reports an error. */
void hak_sweep_check_slot(const hak_view *slot, const char *call);

/* The same for up to `reach` bytes around a sampled object; true when it reported an error. `patient`: waits for a
 * thread that holds the lock, as long as hak_sweep_pause allows. */
bool hak_sweep_check_sample(const hak_sample *sample, size_t reach, const char *call, bool patient);

/* True during the sweep at exit. */
extern HAK_HIDDEN _Atomic bool hak_sweep_exits;

/* Sets `sweeps` before the sweep reads a tag. */
void hak_sweep_begin(_Atomic bool *sweeps);

/* Waits a little for another thread, at exit. False: it has waited often enough. */
bool hak_sweep_pause(void);

#endif
