/* table.h: a table of the allocator's own of which most processes use a small part. Layer 2.
 *
 *   |## in use ##|...... room: not mapped ......|
 *
 * Only what is in use is mapped, at its end more of it: what lies in the library's data counts in every process, used
 * or not, where the kernel counts what is mapped (RLIMIT_AS, RLIMIT_MEMLOCK). It never moves and never goes, so a
 * pointer into it is good for life; a table that nobody reached for has no address, and who may come before that asks.
 * Guarded by the region lock, as extents are: hak_region_reach takes it. */
#ifndef HAK_TABLE_H
#define HAK_TABLE_H

#include "allocator/os/extent.h"

/* The first `count` of at most `most` entries of `size` bytes can be read and written; fresh ones read as zero. False
 * when the OS refuses, and nothing has changed. */
bool hak_table_reach(hak_extent *table, size_t size, size_t most, size_t count);

#endif
