/* valgrind.h: whether the process runs under Valgrind. Layer 1.
 *
 * Valgrind's heap tools (memcheck, helgrind, massif and others) replace malloc and related functions by name in
 * every library, and know only certain names. Functions with other names must reach the tools by calling a
 * function with a known name. */
#ifndef HAK_VALGRIND_H
#define HAK_VALGRIND_H

#include "allocator/base/base.h"

/* Costs a few instructions. May be called at any time. */
bool hak_valgrind_runs(void);

#endif
