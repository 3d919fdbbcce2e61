/* locate.h: finds the object at an address, for reports and for pointers that are not the start of a live
 * object. Cold. Takes no lock, so it works in a signal handler; for objects that other threads are changing the
 * result may be outdated. */
#ifndef HAK_LOCATE_H
#define HAK_LOCATE_H

#include "hardening/located.h"

/* False: not our memory. */
bool hak_locate(uintptr_t addr, hak_located *out);

#endif
