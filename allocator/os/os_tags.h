/* os_tags.h: memory tags of arm64 (MTE), as far as the kernel has to do with them. Layer 1. Empty elsewhere. */
#ifndef HAK_OS_TAGS_H
#define HAK_OS_TAGS_H

#include "allocator/base/base.h"

#if defined(__aarch64__)
/* From now on each access of this thread, and of the threads that it will create, must have the tag of the memory;
 * tags 1 to 15 are drawn. False: the processor or the kernel has no tags, or the process has other threads already,
 * which would have no use of tagged pointers: the kernel takes these only from threads that asked. */
bool hak_os_tags_begin(void);

/* Mapped memory gets tags, all 0 at first; best effort. They stay with the mapping, and with their page: memory that
 * was purged or mapped again has the tag 0. */
void hak_os_tags_allow(uintptr_t addr, size_t size);
#endif

#endif
