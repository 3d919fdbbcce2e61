/* shim_token.c: the C functions that clang calls in programs compiled with -fsanitize=alloc-token: malloc and
 * its relatives with a token for the type as the last argument or, in the fast ABI, with the token in the name.
 * Layer 6. Source: clang.llvm.org/docs/AllocToken, and what clang 22 emits (tests/typed). The C++ functions are
 * in shim_token_new.c. */
#include "allocator/shim/shim_token.h"
#include "allocator/alloc.h"
#include "allocator/os/os.h"
#include "allocator/os/valgrind.h"
#include "include/hakmem.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>

#if !defined(__GLIBC__) /* musl does not declare it; shim_malloc.c defines it */
void *pvalloc(size_t size);
#endif

static void *page_aligned(size_t size, size_t token) {
    return hak_memalign_token(hak_os_page, size, token);
}

static void *whole_pages(size_t size, size_t token) {
    size_t rounded;
    if (hak_align_up_checked(size, hak_os_page, &rounded))
        return hak_memalign_token(hak_os_page, rounded, token);
    errno = ENOMEM;
    return NULL;
}

/* BSD's reallocf: frees the object when it cannot be resized. libc has none. */
static void *change_or_end(void *obj, size_t size, size_t token) {
    void *made = hak_realloc_token(obj, size, token);
    if (made == NULL && size != 0)
        hak_free(obj);
    return made;
}
static void *reallocf(void *obj, size_t size) {
    void *made = realloc(obj, size);
    if (made == NULL && size != 0)
        free(obj);
    return made;
}

/* DO(type, name, ours, parameters, arguments). Under Valgrind each calls the function that Valgrind knows
 * (valgrind.h). */
#define FORMS(DO, t)                                                                                         \
    DO(t, void *, malloc, hak_malloc_token, (size_t size), (size))                                           \
    DO(t, void *, calloc, hak_calloc_token, (size_t count, size_t size), (count, size))                      \
    DO(t, void *, realloc, hak_realloc_token, (void *obj, size_t size), (obj, size))                         \
    DO(t, void *, reallocf, change_or_end, (void *obj, size_t size), (obj, size))                            \
    DO(t, void *, reallocarray, hak_reallocarray_token, (void *obj, size_t count, size_t size),              \
       (obj, count, size))                                                                                   \
    DO(t, void *, aligned_alloc, hak_aligned_alloc_token, (size_t align, size_t size), (align, size))        \
    DO(t, void *, memalign, hak_memalign_token, (size_t align, size_t size), (align, size))                  \
    DO(t, int, posix_memalign, hak_posix_memalign_token, (void **out, size_t align, size_t size),            \
       (out, align, size))                                                                                   \
    DO(t, void *, valloc, page_aligned, (size_t size), (size))                                               \
    DO(t, void *, pvalloc, whole_pages, (size_t size), (size))

#define WITH_TOKEN(t, type, name, ours, parameters, arguments)                                               \
    HAK_TOKEN_EXPORT HAK_NOINLINE type __alloc_token_##name(HAK_BARE parameters, size_t token) {             \
        if (HAK_UNLIKELY(hak_valgrind_runs()))                                                               \
            return name arguments;                                                                           \
        return ours(HAK_BARE arguments, token);                                                              \
    }
FORMS(WITH_TOKEN, )

#define FAST(t) FORMS(HAK_TOKEN_IN_NAME, t)
HAK_TOKENS_IN_NAMES(FAST)
