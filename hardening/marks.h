/* marks.h: a bitmap of the records of large objects that are in use: one bit for 64 records, which describe 4
 * MiB of a region.
 *
 *   records   |H0000000000....|0000000000000000|0000000000000000| .. |0000H000000000 | H0000 ..
 *   marks            1               0                 0         ..         1            1
 *
 * A large object of a terabyte has sixteen million records, of which only the first and the last few are used.
 * Code that reads or clears all records of an object goes from mark to mark, so its cost does not grow with a
 * size that is only requested. A thread sets the mark before it writes a record. Only the owner of all 64
 * granules clears a mark. Thread-safe. */
#ifndef HAK_MARKS_H
#define HAK_MARKS_H

#include "hardening/ledger.h"

/* Bytes of marks for a region of `size` bytes. */
size_t hak_marks_bytes(size_t size);

/* Marks the records of granules [from, end): they may be in use from now on. */
void hak_marks_set(const hak_ledger_region *ledger, size_t from, size_t end);

/* Clears the marks of granules [from, end), whose records are all zero. */
void hak_marks_clear(const hak_ledger_region *ledger, size_t from, size_t end);

/* The first granule from `at` on whose record may be in use; `end` when there is none before it. */
size_t hak_marks_next(const hak_ledger_region *ledger, size_t at, size_t end);

#endif
