/* once.h: what has been reported already, by the place in the program that it was found at: for the mode `once`. No
 * lock. */
#ifndef HAK_ONCE_H
#define HAK_ONCE_H

#include "hardening/modes.h"

/* True when the check has been reported at that return address; when the table is full, for every address: reports have
 * an end. */
bool hak_once_seen(hak_check check, uintptr_t caller);

/* True for the first who asks for that check and address. */
bool hak_once_first(hak_check check, uintptr_t caller);

#endif
