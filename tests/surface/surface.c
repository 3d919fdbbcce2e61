/* surface.c: the drop-in surface for C: every function under libc's own name, as a program calls it. Run under each
 * variant's .so, and linked with it. Prints the first line that is wrong; exit 1. */
#include "tests/surface/want.h"

#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

/* libc has none of these: they are the allocator's. */
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
extern const char *hak_variant(void) __attribute__((weak));

/* Hidden from the compiler, which knows what malloc returns and drops unused objects. */
static void *hide(void *obj) {
    void *volatile hidden = obj;
    return hidden;
}
static size_t hide_size(size_t size) {
    volatile size_t hidden = size;
    return hidden;
}

static void *good(void *obj, size_t size, size_t align) {
    obj = hide(obj);
    WANT(obj != NULL && (uintptr_t)obj % align == 0 && malloc_usable_size(obj) >= size);
    memset(obj, 0x5a, size);
    return obj;
}

static void c_functions(void) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    WANT(cfree != NULL && free_sized != NULL && free_aligned_sized != NULL);
    free(good(malloc(100), 100, 16));
    free(good(calloc(10, 10), 100, 16));
    free(good(realloc(NULL, 100), 100, 16));
    free(good(reallocarray(NULL, 10, 10), 100, 16));
    free(good(aligned_alloc(64, 128), 128, 64));
    free(good(memalign(4096, 100), 100, 4096));
    free(good(valloc(100), 100, page));
    void *whole = good(pvalloc(page + 1), 2 * page, page);
    free(whole);
    void *obj = NULL;
    WANT(posix_memalign(&obj, 256, 100) == 0);
    free(good(obj, 100, 256));
    WANT(posix_memalign(&obj, 3, 100) == EINVAL &&
         posix_memalign(&obj, sizeof(void *), hide_size(SIZE_MAX)) == ENOMEM);
    free_sized(malloc(77), 77);
    free_aligned_sized(aligned_alloc(128, 256), 128, 256);
    cfree(good(malloc(9), 9, 16));
    WANT(malloc_usable_size(NULL) == 0);
    free(NULL);
}

/* Several of each, because the first slot of a slab has any alignment by chance. */
static void *by_posix_memalign(size_t align, size_t size) {
    void *obj = NULL;
    WANT(posix_memalign(&obj, align, size) == 0);
    return obj;
}
static void *by_valloc(size_t align, size_t size) {
    (void)align;
    return valloc(size);
}
static void *by_libc_valloc(size_t align, size_t size) {
    (void)align;
    return __libc_valloc(size);
}
static void alignments(void) {
    enum { EACH = 9, ALIGN = 4096, SIZE = 100 };
    static void *(*const ways[])(size_t, size_t) = {aligned_alloc,   memalign,  by_posix_memalign,
                                                    __libc_memalign, by_valloc, by_libc_valloc};
    for (unsigned way = 0; way < sizeof ways / sizeof ways[0]; way++) {
        void *objs[EACH];
        for (int i = 0; i < EACH; i++)
            objs[i] = good(ways[way](ALIGN, SIZE), SIZE, ALIGN);
        for (int i = 0; i < EACH; i++)
            free(objs[i]);
    }
}

static void libc_aliases(void) {
    __libc_free(good(__libc_malloc(100), 100, 16));
    __libc_free(good(__libc_calloc(10, 10), 100, 16));
    __libc_free(good(__libc_realloc(__libc_malloc(5), 100), 100, 16));
    free(good(__libc_memalign(512, 100), 100, 512));
    free(good(__libc_valloc(100), 100, 4096));
    free(good(__libc_pvalloc(100), 4096, 4096));
}

/* Whatever frees an object, it is gone: mallinfo2 counts large ones. */
static void nothing_stays(void) {
    const size_t large = 5 << 20, align = 128;
    struct mallinfo2 before = mallinfo2();
    free(hide(malloc(large)));
    free_sized(hide(malloc(large)), large);
    free_aligned_sized(hide(aligned_alloc(align, large)), align, large);
    cfree(hide(malloc(large)));
    __libc_free(hide(malloc(large)));
    WANT(realloc(hide(malloc(large)), hide_size(0)) == NULL);
    WANT(mallinfo2().hblks == before.hblks);
}

static void through_libc(void) {
    char *copy = good(strdup("twelve bytes"), 13, 16), *part = good(strndup("twelve bytes", 6), 7, 16);
    free(copy);
    free(part);
    free(good(wcsdup(L"wide"), 5 * sizeof(wchar_t), 16));
    char *text = NULL;
    WANT(asprintf(&text, "%d-%s", 42, "x") == 4 && strcmp(text, "42-x") == 0);
    free(text);
    size_t size = 0;
    char *line = NULL;
    FILE *file = tmpfile();
    WANT(file != NULL && fputs("a line\n", file) >= 0);
    rewind(file);
    WANT(getline(&line, &size, file) == 7 && malloc_usable_size(line) >= size);
    free(line);
    fclose(file);
    char *memory = NULL;
    FILE *stream = open_memstream(&memory, &size);
    for (int i = 0; i < 1000; i++)
        fprintf(stream, "%d", i);
    fclose(stream);
    WANT(size == 2890 && malloc_usable_size(memory) >= size);
    free(memory);
    char *path = realpath("/", NULL);
    WANT(path != NULL && strcmp(path, "/") == 0);
    free(path);
}

static void refusals(void) {
    static const size_t impossible[] = {SIZE_MAX, SIZE_MAX - 15, (size_t)PTRDIFF_MAX + 1, PTRDIFF_MAX};
    for (int i = 0; i < 4; i++) {
        size_t size = hide_size(impossible[i]);
        errno = 0;
        WANT(hide(malloc(size)) == NULL && errno == ENOMEM);
        errno = 0;
        WANT(hide(calloc(1, size)) == NULL && errno == ENOMEM);
        errno = 0;
        WANT(hide(memalign(64, size)) == NULL && errno == ENOMEM);
        errno = 0;
        WANT(hide(pvalloc(size)) == NULL && errno == ENOMEM);
        char *obj = strdup("kept");
        errno = 0;
        WANT(hide(realloc(hide(obj), size)) == NULL && errno == ENOMEM && strcmp(obj, "kept") == 0);
        errno = 0;
        WANT(hide(reallocarray(hide(obj), size, 2)) == NULL && errno == ENOMEM && strcmp(obj, "kept") == 0);
        free(obj);
    }
    errno = 0;
    WANT(hide(calloc(hide_size(SIZE_MAX / 2 + 2), 2)) == NULL && errno == ENOMEM);
    errno = 0;
    WANT(hide(aligned_alloc(hide_size(48), 96)) == NULL && errno == EINVAL);
}

static void errno_kept(void) {
    static const size_t sizes[] = {1, 1000, 100000, 1000000, 300000000};
    for (int i = 0; i < 5; i++) {
        void *obj = hide(malloc(sizes[i]));
        errno = 1234;
        free(obj);
        WANT(errno == 1234);
    }
}

static void information(void) {
    void *large = good(malloc(5000000), 5000000, 16);
    struct mallinfo2 now = mallinfo2();
    WANT(now.hblkhd >= 5000000 && now.usmblks == 0); /* the others: surface_info.c */
    struct mallinfo old = mallinfo();
    WANT(old.hblkhd >= 5000000);
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    WANT(malloc_info(0, stream) == 0);
    WANT(malloc_info(1, stream) == -1 && errno == EINVAL);
    fclose(stream);
    WANT(strncmp(text, "<malloc version=\"", 17) == 0 && strstr(text, "</malloc>") != NULL);
    free(text);
    WANT(mallopt(M_MMAP_THRESHOLD, 65536) == 1 && mallopt(M_ARENA_MAX, 1) == 1);
    malloc_stats(); /* on stderr */
    free(large);
    (void)malloc_trim(0);
    WANT(malloc_trim(0) == 0 || malloc_trim(0) == 0); /* no memory is left to give back */
}

/* The calls of clang 22 when types are told apart: pvalloc returns whole pages, valloc returns the start of a page,
 * and reallocf ends an object that cannot be resized. */
extern void *__alloc_token_pvalloc(size_t size, size_t token) __attribute__((weak));
extern void *__alloc_token_valloc(size_t size, size_t token) __attribute__((weak));
extern void *__alloc_token_reallocf(void *obj, size_t size, size_t token) __attribute__((weak));
static void with_tokens(void) {
    enum { LARGE = 100 };
    if (__alloc_token_pvalloc == NULL) /* another allocator, for comparison */
        return;
    for (size_t token = 0; token < 3; token++) {
        void *pages = __alloc_token_pvalloc(1, token), *page = __alloc_token_valloc(40, token);
        WANT((uintptr_t)pages % 4096 == 0 && malloc_usable_size(pages) >= 4096);
        WANT((uintptr_t)page % 4096 == 0 && malloc_usable_size(page) >= 40);
        free(pages);
        free(page);
    }
    void *objs[LARGE];
    for (int i = 0; i < LARGE; i++)
        objs[i] = malloc(1 << 20);
    size_t live = mallinfo2().hblks;
    for (int i = 0; i < LARGE; i++)
        WANT(__alloc_token_reallocf(objs[i], hide_size(SIZE_MAX / 2), 5) == NULL);
    WANT(mallinfo2().hblks <= live - LARGE);
}

int main(void) {
    with_tokens();
    c_functions();
    libc_aliases();
    alignments();
    nothing_stays();
    through_libc();
    refusals();
    errno_kept();
    information();
    printf("%s\n", hak_variant != NULL ? hak_variant() : "none");
    return 0;
}
