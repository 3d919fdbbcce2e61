/* surface_deepbind.c: a module that is opened with RTLD_DEEPBIND shares the program's malloc and free. The module
 * lies beside the program, and dlopen finds it by the program's RUNPATH: so dlopen still knows its caller. */
#include "tests/surface/want.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 1000 };

typedef char *copy(const char *text);
typedef void take(void *obj);
typedef void *give(size_t size);
typedef void *address(void);

static void *symbol(void *module, const char *name) {
    void *found = dlsym(module, name);
    WANT(found != NULL);
    return found;
}

int main(void) {
    WANT(dlopen("no_such_module.so", RTLD_NOW | RTLD_DEEPBIND) == NULL);
    const char *error = dlerror();
    WANT(error != NULL && strstr(error, "no_such_module.so") != NULL && dlerror() == NULL);
    WANT(dlopen(NULL, RTLD_NOW) != NULL);
    void *module = dlopen("libdeepbind_module.so", RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
    WANT(module != NULL);
    copy *module_copy;
    take *module_free;
    give *module_malloc;
    address *module_address_of_malloc;
    *(void **)&module_copy = symbol(module, "module_copy");
    *(void **)&module_free = symbol(module, "module_free");
    *(void **)&module_malloc = symbol(module, "module_malloc");
    *(void **)&module_address_of_malloc = symbol(module, "module_address_of_malloc");
    WANT(module_address_of_malloc() == (void *)malloc);
    for (int i = 0; i < ROUNDS; i++) {
        module_free(module_copy("made by libc"));
        char *obj = module_copy("made by libc"), *other = module_malloc((size_t)i);
        WANT(obj != NULL && other != NULL && strcmp(obj, "made by libc") == 0);
        free(obj);
        free(other);
        module_free(malloc((size_t)i));
    }
    WANT(dlclose(module) == 0);
    puts("done");
    return 0;
}
