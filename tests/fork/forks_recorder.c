/* forks_recorder.c: stands between an allocator and libc's registration of handlers of fork: __register_atfork. It
 * is the last library before libc, so it sees what the allocator passes on. See forks_library.h. */
#include "tests/fork/forks_library.h"

#include <dlfcn.h>
#include <stdlib.h>

typedef int registers(void (*prepare)(void), void (*parent)(void), void (*child)(void), void *library);

registers __register_atfork;

void *recorder_first;
void (*recorder_hook)(void);

int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void), void *library) {
    registers *libc;
    *(void **)&libc = dlsym(RTLD_NEXT, "__register_atfork");
    if (libc == NULL)
        abort();
    if (recorder_first == NULL)
        recorder_first = *(void **)&prepare;
    if (recorder_hook != NULL)
        recorder_hook();
    return libc(prepare, parent, child, library);
}
