/* table.c: see table.h. */
#include "allocator/pages/table.h"

#include "allocator/base/bits.h"

bool hak_table_reach(hak_extent *table, size_t size, size_t most, size_t count) {
    size_t end = hak_align_up(count * size, hak_os_page);
    if (HAK_LIKELY(end <= table->mapped))
        return true;
    if (table->start != 0)
        return hak_extent_grow(table, end);
    return hak_extent_begin(table, hak_align_up(most * size, hak_os_page), end, hak_os_page);
}
