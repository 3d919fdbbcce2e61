/* module.h: the loaded modules, which are the program and its shared objects, and the names that they define.
 * Layer 1. */
#ifndef HAK_MODULE_H
#define HAK_MODULE_H

#include "allocator/base/base.h"

/* True when a module, other than the allocator's own and the C++ library, defines `name` where others can see
 * it. The order of loading does not matter. Allocates nothing; takes the lock of dl_iterate_phdr(3), so it must
 * not be called from a signal handler. */
bool hak_module_defines(const char *name);

/* Finds the code of the first module whose SONAME begins with `soname`. False: there is none. Lock as above. */
bool hak_module_code(const char *soname, uintptr_t *start, uintptr_t *end);

/* The most bytes that the thread-local variables of all modules take in a thread. Lock as above. */
size_t hak_module_tls(void);

#endif
