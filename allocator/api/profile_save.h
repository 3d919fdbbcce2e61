/* profile_save.h: the heap profile leaves the process. Layer 5. hak_profile_save is in include/hakmem.h. */
#ifndef HAK_PROFILE_SAVE_H
#define HAK_PROFILE_SAVE_H

#include "allocator/base/base.h"

/* What HAKMEM_HEAP_PROFILE and HAKMEM_HEAP_LEAKS ask for. */
void hak_profile_at_exit(void);

#endif
