/* valgrind.h: whether the process runs under Valgrind. Layer 1.
 *
 * Its heap tools (memcheck, helgrind, massif and so on) replace malloc and its relatives in every library by the
 * name of the function, and know only the names that they know. What they do not know must reach them by a call of a
 * name that they do. */
#ifndef HAK_VALGRIND_H
#define HAK_VALGRIND_H

#include "allocator/base/base.h"

/* Costs a few instructions. May be called at any time. */
bool hak_valgrind_runs(void);

#endif
