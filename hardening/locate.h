/* locate.h: what lies at an address, for reports, and for verifying pointers that are no live object's. Cold. Takes no
 * lock, so that it works in a signal handler; what it says of objects that other threads change just now may be old. */
#ifndef HAK_LOCATE_H
#define HAK_LOCATE_H

#include "hardening/located.h"

/* False: nothing of ours. */
bool hak_locate(uintptr_t addr, hak_located *out);

#endif
