/* thread_end.h: notices the end of a thread. Layer 5. */
#ifndef HAK_THREAD_END_H
#define HAK_THREAD_END_H

#include "allocator/base/base.h"

/* Called once, at the start. */
void hak_thread_end_init(void);

/* Makes the calling thread, which has a cache, give it back when it ends. May allocate: the cache is ready for
 * that. */
void hak_thread_end_watch(void);

#endif
