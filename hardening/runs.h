/* runs.h: the memory that the records of slots lie in: see ledger.h.
 *
 *   runs        | run | run | run .. | run ..  | (unmapped) |  run ...      packed, in the order in which slabs were
 *   first born
 *   run_pages   |     2     |     1  |    1    |   gone     |   1           four bytes per page: how many slabs with
 *   memory have a run there, and of how many of them the run idles
 *
 * When a slab becomes hollow its records are worth nothing: every slot is free and will read as zero. A page of records
 * of which that is true of every slab goes too, and comes back zeroed with the first of them. The same is true of a
 * free slab whose pages went while its addresses stay: its run idles. Where all runs of a page do, what is resident of
 * it goes, some pages at a time, and who reads it, as sweeps may, finds zeros. Runs are the one thing
 * here that is not sealed: what is sealed can never be given back. Both extents are guarded by the region lock. */
#ifndef HAK_RUNS_H
#define HAK_RUNS_H

#include "hardening/ledger.h"

/* Begins the extents for the runs of the region's slabs. False: no memory. The region lock is held. */
bool hak_runs_begin(hak_ledger_region *ledger);
void hak_runs_end(hak_ledger_region *ledger);
void hak_runs_empty(hak_ledger_region *ledger); /* debug builds: no slab has a run any more */

/* A run of `records` zeroed records; NULL when there is no memory. */
hak_record *hak_run_take(hak_ledger_region *ledger, size_t records);

/* The run's slab is hollow; and has memory again: the records may be zero then. HAK_MAP_TAKEN: they are lost. */
void hak_run_hollow(hak_ledger_region *ledger, hak_record *run, size_t records);
hak_map_result hak_run_fill(hak_ledger_region *ledger, hak_record *run, size_t records);

/* The run's slab is free, and its pages went: the records may be zero from now on; and it is taken again. */
void hak_run_idle(hak_ledger_region *ledger, hak_record *run, size_t records);
void hak_run_wake(hak_ledger_region *ledger, hak_record *run, size_t records);

#endif
