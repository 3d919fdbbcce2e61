/* with_tools.c: the program that with_tools_test.py runs under debuggers, tracers and checkers. The argument names
 * the part; each prints its last word. */
#include "tests/surface/want.h"

#include <malloc.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

extern void free_sized(void *obj, size_t size) __attribute__((weak));
extern void free_aligned_sized(void *obj, size_t alignment, size_t size) __attribute__((weak));
extern void cfree(void *obj) __attribute__((weak));
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *obj, size_t size);
void __libc_free(void *obj);
void *__libc_memalign(size_t alignment, size_t size);
void *__libc_valloc(size_t size);
void *__libc_pvalloc(size_t size);

enum { SIZE = 200, LINES = 256 /* a multiple of 64, as C11 wants and newer valgrinds */, OBJECTS = 100000 };

/* One function's object, written to its end, goes to another function. */
static void *good(void *obj, size_t size) {
    void *volatile hidden = obj;
    WANT(hidden != NULL);
    memset(hidden, 7, size);
    return hidden;
}

/* Every allocating name, in groups of those that may be mixed. */
static void names(void) {
    void *out = NULL;
    free(good(malloc(SIZE), SIZE));
    free(good(calloc(2, SIZE), 2 * SIZE));
    free(good(realloc(NULL, SIZE), SIZE));
    free(good(reallocarray(good(malloc(SIZE), SIZE), 5, SIZE), 5 * SIZE));
    free(good(realloc(good(reallocarray(NULL, 5, SIZE), 5 * SIZE), 9 * SIZE), 9 * SIZE));
    free(good(aligned_alloc(64, LINES), LINES));
    free(good(memalign(128, SIZE), SIZE));
    WANT(posix_memalign(&out, 256, SIZE) == 0);
    free(good(out, SIZE));
    free(good(valloc(SIZE), SIZE));
    free(good(pvalloc(SIZE), SIZE));
    free(good(__libc_malloc(SIZE), SIZE));
    free(good(__libc_calloc(2, SIZE), SIZE));
    free(good(__libc_realloc(malloc(SIZE), 2 * SIZE), 2 * SIZE));
    free(good(__libc_memalign(64, SIZE), SIZE));
    free(good(__libc_valloc(SIZE), SIZE));
    free(good(__libc_pvalloc(SIZE), SIZE));
    __libc_free(good(malloc(SIZE), SIZE));
    WANT(cfree != NULL && free_sized != NULL && free_aligned_sized != NULL);
    cfree(good(malloc(SIZE), SIZE));
    free_sized(good(malloc(SIZE), SIZE), SIZE);
    free_aligned_sized(good(aligned_alloc(64, LINES), LINES), 64, LINES);
    for (size_t size = 1; size < 3000000; size += 1 + size / 3)
        free(good(realloc(good(malloc(size), size), 2 * size), 2 * size));
    out = malloc(SIZE);
    WANT(malloc_usable_size(out) >= SIZE);
    free(out);
}

/* One byte too many, and a double free. */
static void errors(void) {
    char *volatile obj = malloc(SIZE);
    obj[SIZE] = 1;
    free(obj);
    free(obj);
}

static char *volatile *kept;
static const char mark[] = "what the core must have";

__attribute__((noinline)) static void stop_here(void) {
    __asm__ volatile("" ::: "memory");
}

/* 70 MiB, each object marked. */
static void keep(void) {
    kept = calloc(OBJECTS + 20, sizeof *kept);
    for (int i = 0; i < OBJECTS + 20; i++) {
        size_t size = i < OBJECTS ? 500 : 1 << 20;
        kept[i] = malloc(size);
        WANT(kept[i] != NULL);
        memset(kept[i], 1, size);
        memcpy(kept[i], mark, sizeof mark);
    }
    stop_here();
}

/* As many objects as no cache keeps are freed, and their memory is given back. */
static void frees(void) {
    enum { FREED = 20000 };
    static char *volatile objs[FREED];
    for (int i = 0; i < FREED; i++)
        objs[i] = good(malloc(500), 500);
    for (int i = 0; i < FREED; i++)
        free(objs[i]);
    WANT(malloc_trim(0) == 1);
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    if (strcmp(what, "names") == 0)
        names();
    else if (strcmp(what, "errors") == 0)
        errors();
    else if (strcmp(what, "frees") == 0)
        frees();
    else
        keep();
    puts("done");
    fflush(stdout);
    if (strcmp(what, "wait") == 0)
        (void)!read(STDIN_FILENO, argv[0], 1);
    if (strcmp(what, "abort") == 0) {
        struct rlimit none = {RLIM_INFINITY, RLIM_INFINITY};
        WANT(setrlimit(RLIMIT_CORE, &none) == 0);
        abort();
    }
    return 0;
}
