/* once.h: which errors have been reported already, by call site; for the mode `once`. No lock. */
#ifndef HAK_ONCE_H
#define HAK_ONCE_H

#include "hardening/modes.h"

/* True when the check has reported an error at that return address. When the table is full, true for every
 * address, so that reports end. */
bool hak_once_seen(hak_check check, uintptr_t caller);

/* Returns true once for each check and address. */
bool hak_once_first(hak_check check, uintptr_t caller);

#endif
