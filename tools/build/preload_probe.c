/* preload_probe.c: preload_probe LIBRARY: fails unless malloc and related functions are the library's, as a program
 * finds them. run_preload.sh runs it before each test, because ld.so only complains about a library that it cannot
 * load, and a library may lack the functions. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[] = {"malloc",
                                    "calloc",
                                    "realloc",
                                    "free",
                                    "aligned_alloc",
                                    "posix_memalign",
                                    "malloc_usable_size",
                                    "reallocarray",
                                    "memalign",
                                    "valloc",
                                    "pvalloc",
                                    "malloc_trim",
                                    "mallinfo",
                                    "mallinfo2",
                                    "malloc_info",
                                    "malloc_stats",
                                    "mallopt",
                                    "free_sized",
                                    "free_aligned_sized",
                                    "_Znwm",
                                    "_Znam",
                                    "_ZdlPv",
                                    "_ZdaPv",
                                    "_ZdlPvm",
                                    "_ZnwmSt11align_val_t"};

static int same_file(const char *a, const char *b) {
    char real_a[4096], real_b[4096];
    return realpath(a, real_a) != NULL && realpath(b, real_b) != NULL && strcmp(real_a, real_b) == 0;
}

int main(int argc, char **argv) {
    Dl_info info;
    for (size_t i = 0; argc == 2 && i < sizeof names / sizeof names[0]; i++) {
        void *found = dlsym(RTLD_DEFAULT, names[i]);
        if (found == NULL || dladdr(found, &info) == 0 || !same_file(info.dli_fname, argv[1])) {
            fprintf(stderr, "%s is not that of %s\n", names[i], argv[1]);
            return 1;
        }
    }
    return argc != 2;
}
