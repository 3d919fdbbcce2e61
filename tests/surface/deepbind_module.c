/* deepbind_module.c: the module that surface_deepbind.c opens with RTLD_DEEPBIND. */
#include <stdlib.h>
#include <string.h>

char *module_copy(const char *text) {
    return strdup(text); /* libc's own, which calls the process's malloc */
}
void module_free(void *obj) {
    free(obj);
}
void *module_malloc(size_t size) {
    return malloc(size);
}
void *module_address_of_malloc(void) {
    return (void *)malloc;
}
