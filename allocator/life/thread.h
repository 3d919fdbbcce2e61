/* thread.h: the first call of a thread, and of the process. Layer 5. */
#ifndef HAK_THREAD_H
#define HAK_THREAD_H

#include "allocator/base/base.h"

/* Starts the allocator where that has not happened, and gives the calling thread its cache. False when nothing can be
 * allocated because the allocator cannot start. Cheap when there is nothing to do; keeps errno. */
bool hak_thread_begin(void);

/* Ends the process when malloc belongs to a sanitizer whose library comes later: in what has shim_sanitizer.c;
 * elsewhere it does nothing. */
void hak_sanitizer_refuse(void);

#endif
