/* thread.h: the first call of a thread, and of the process. Layer 5. */
#ifndef HAK_THREAD_H
#define HAK_THREAD_H

#include "allocator/base/base.h"

/* Starts the allocator if needed, and gives the calling thread its cache. False: the allocator cannot start, so
 * nothing can be allocated. Cheap when there is nothing to do; keeps errno. */
bool hak_thread_begin(void);

/* Ends the process when a sanitizer owns malloc and its library comes after this one. Defined in
 * shim_sanitizer.c; does nothing in builds without it. */
void hak_sanitizer_refuse(void);

#endif
