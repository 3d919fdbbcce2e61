/* profile_save.h: writes the heap profile to a file. Layer 5. hak_profile_save is in include/hakmem.h. */
#ifndef HAK_PROFILE_SAVE_H
#define HAK_PROFILE_SAVE_H

#include "allocator/base/base.h"

/* Writes what HAKMEM_HEAP_PROFILE and HAKMEM_HEAP_LEAKS ask for at exit. */
void hak_profile_at_exit(void);

#endif
