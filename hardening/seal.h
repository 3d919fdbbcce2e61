/* seal.h: what does not change after start becomes read-only, for good where the kernel has mseal (Linux 6.10). */
#ifndef HAK_SEAL_H
#define HAK_SEAL_H

#include "allocator/base/base.h"

/* The page of modes and keys (modes.h). Once. */
void hak_seal_start(void);

/* Metadata in whole pages that is written to, but stays for good: from now on nobody can put another mapping in its
 * place, or change its protection. Any number of times. Not in debug builds, whose regions may go (reset.h). */
void hak_seal_metadata(uintptr_t addr, size_t size);

#endif
