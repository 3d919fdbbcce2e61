/* runs.h: the memory of the records of slots: see ledger.h.
 *
 *   runs        | run | run | run .. | run ..  | (unmapped) |  run ...    packed, in the order of the slabs' births
 *   run_pages   |     2     |     1  |    1    |   gone     |   1         four bytes per page: how many slabs with
 *                                                                         memory have a run there, and how many of
 *                                                                         these runs are idle
 *
 * When a slab becomes hollow its records are worth nothing: every slot is free and will read as zero. When all slabs
 * with records in a page are hollow, the page is unmapped too. It comes back zeroed with the first of these slabs.
 * A free slab whose pages were purged while its addresses stay has worthless records too: its run is idle. When all
 * runs of a page are idle, the page is purged, some pages at a time; a thread that reads it, such as a sweep, finds
 * zeros. Only the runs are not sealed here, because sealed memory can never be given back. The region lock guards
 * both extents. */
#ifndef HAK_RUNS_H
#define HAK_RUNS_H

#include "hardening/ledger.h"

/* Begins the extents for the runs of the region's slabs. False: no memory. The region lock is held. */
bool hak_runs_begin(hak_ledger_region *ledger);
void hak_runs_end(hak_ledger_region *ledger);
void hak_runs_empty(hak_ledger_region *ledger); /* debug builds: no slab has a run any more */

/* Takes a run of `records` zeroed records; NULL: no memory. */
hak_record *hak_run_take(hak_ledger_region *ledger, size_t records);

/* Note that the run's slab is hollow, and that it has memory again: its records may be zero then. HAK_MAP_TAKEN: the
 * records are lost. */
void hak_run_hollow(hak_ledger_region *ledger, hak_record *run, size_t records);
hak_map_result hak_run_fill(hak_ledger_region *ledger, hak_record *run, size_t records);

/* Note that the pages of the run's free slab were purged, so its records may be zero from now on; and that the slab
 * is taken again. */
void hak_run_idle(hak_ledger_region *ledger, hak_record *run, size_t records);
void hak_run_wake(hak_ledger_region *ledger, hak_record *run, size_t records);

#endif
