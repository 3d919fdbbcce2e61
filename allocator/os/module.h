/* module.h: the program and the shared objects that are loaded beside it, and what names they define. Layer 1. */
#ifndef HAK_MODULE_H
#define HAK_MODULE_H

#include "allocator/base/base.h"

/* True when a module other than the allocator's own and the C++ library's defines `name` where others can see it, in
 * whatever order the modules were loaded. Allocates nothing; takes the lock of dl_iterate_phdr(3), so not from a
 * signal handler. */
bool hak_module_defines(const char *name);

/* Where the code lies of the first module whose SONAME begins so; false when there is none. As above. */
bool hak_module_code(const char *soname, uintptr_t *start, uintptr_t *end);

/* Bytes that the thread-local variables of all modules have in each thread, at most. As above. */
size_t hak_module_tls(void);

#endif
