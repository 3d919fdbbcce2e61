/* marks.h: which records of large objects may say something: a bit for each 64 of them, 4 MiB of the region.
 *
 *   records   |H0000000000....|0000000000000000|0000000000000000| .. |0000H000000000 | H0000 ..
 *   marks            1               0                 0         ..         1            1
 *
 * An object of a terabyte has sixteen million records, of which its first and its last few say something. Who looks at,
 * or clears, all that an object covers goes from mark to mark, so that nothing grows with a size that is only asked
 * for. Whoever writes a record marks it first; a mark is taken away by the owner of all 64 granules only.
 * Thread-safe. */
#ifndef HAK_MARKS_H
#define HAK_MARKS_H

#include "hardening/ledger.h"

/* Bytes of marks for so many bytes of a region. */
size_t hak_marks_bytes(size_t size);

/* The records of granules `from` to `end` of the region may say something from now on. */
void hak_marks_set(const hak_ledger_region *ledger, size_t from, size_t end);

/* They are zero, all of them. */
void hak_marks_clear(const hak_ledger_region *ledger, size_t from, size_t end);

/* The first granule from `at` on whose record may say something; `end` when there is none before that. */
size_t hak_marks_next(const hak_ledger_region *ledger, size_t at, size_t end);

#endif
