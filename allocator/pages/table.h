/* table.h: a table inside the allocator, of which most processes use a small part. Layer 2.
 *
 *   |## in use ##|...... room: not mapped ......|
 *
 * Only the part in use is mapped, and more is mapped at its end. A table in the library's data would count in
 * every process, used or not, where the kernel counts mapped memory (RLIMIT_AS, RLIMIT_MEMLOCK). A table never
 * moves and is never unmapped, so a pointer into it stays valid. A table that was never reached has no address;
 * code that may run before that must check it. Guarded by the region lock, as extents are: hak_region_reach
 * takes it. */
#ifndef HAK_TABLE_H
#define HAK_TABLE_H

#include "allocator/os/extent.h"

/* Makes the first `count` of at most `most` entries of `size` bytes readable and writable; fresh ones read as
 * zero. False: the OS refused, and nothing has changed. */
bool hak_table_reach(hak_extent *table, size_t size, size_t most, size_t count);

#endif
