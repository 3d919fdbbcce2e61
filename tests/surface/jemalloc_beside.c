/* jemalloc_beside.c: a library that comes after the allocator and has jemalloc's own calls, like libjemalloc.so,
 * with which a program made for jemalloc is linked. None of them may be reached: its objects would belong to another
 * heap. */
#include "include/hakmem_jemalloc.h"

#include <stdio.h>
#include <stdlib.h>

static void reached(const char *name) {
    printf("%s is the other allocator's\n", name);
    exit(1);
}

void *mallocx(size_t size, int flags) {
    return (void)size, (void)flags, reached("mallocx"), NULL;
}
void *rallocx(void *obj, size_t size, int flags) {
    return (void)obj, (void)size, (void)flags, reached("rallocx"), NULL;
}
size_t xallocx(void *obj, size_t size, size_t extra, int flags) {
    return (void)obj, (void)size, (void)extra, (void)flags, reached("xallocx"), 0;
}
size_t sallocx(const void *obj, int flags) {
    return (void)obj, (void)flags, reached("sallocx"), 0;
}
void dallocx(void *obj, int flags) {
    (void)obj, (void)flags, reached("dallocx");
}
void sdallocx(void *obj, size_t size, int flags) {
    (void)obj, (void)size, (void)flags, reached("sdallocx");
}
size_t nallocx(size_t size, int flags) {
    return (void)size, (void)flags, reached("nallocx"), 0;
}
int mallctl(const char *name, void *old, size_t *old_len, void *new_value, size_t new_len) {
    return (void)name, (void)old, (void)old_len, (void)new_value, (void)new_len, reached("mallctl"), 1;
}
int mallctlnametomib(const char *name, size_t *mib, size_t *mib_len) {
    return (void)name, (void)mib, (void)mib_len, reached("mallctlnametomib"), 1;
}
int mallctlbymib(const size_t *mib, size_t mib_len, void *old, size_t *old_len, void *new_value,
                 size_t new_len) {
    (void)mib, (void)mib_len, (void)old, (void)old_len, (void)new_value, (void)new_len;
    return reached("mallctlbymib"), 1;
}
void malloc_stats_print(void (*write)(void *opaque, const char *text), void *opaque, const char *opts) {
    (void)write, (void)opaque, (void)opts, reached("malloc_stats_print");
}
void (*malloc_message)(void *opaque, const char *text);
