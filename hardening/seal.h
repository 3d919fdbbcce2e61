/* seal.h: makes constant data read-only after start, permanently where the kernel has mseal (Linux 6.10). */
#ifndef HAK_SEAL_H
#define HAK_SEAL_H

#include "allocator/base/base.h"

/* Seals the page of modes and keys (modes.h). Called once. */
void hak_seal_start(void);

/* Seals metadata in whole pages that stays writable: from now on nothing can map over it or change its
 * protection. May be called any number of times. Does nothing in debug builds, whose regions may go (reset.h). */
void hak_seal_metadata(uintptr_t addr, size_t size);

#endif
