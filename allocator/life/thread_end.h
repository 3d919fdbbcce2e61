/* thread_end.h: the last call of a thread. Layer 5. */
#ifndef HAK_THREAD_END_H
#define HAK_THREAD_END_H

#include "allocator/base/base.h"

/* Once, at the start. */
void hak_thread_end_init(void);

/* The calling thread, which has a cache, gives it back at its end. May allocate: the cache is ready for that. */
void hak_thread_end_watch(void);

#endif
