/* forms.h: every function that clang 22 calls with a token, under the names that clang uses. forms.c and forms.cc
 * call each of them once. With `good` they check the returned objects. */
#ifndef HAK_TESTS_FORMS_H
#define HAK_TESTS_FORMS_H

#include "want.h"

#include <malloc.h>
#include <stdint.h>
#include <string.h>

typedef struct node {
    struct node *next;
    int number;
} node;

/* Hidden from the compiler, which drops unused objects. */
static inline void *good(void *obj, size_t size, size_t align) {
    void *volatile hidden = obj;
    WANT(hidden != NULL && (uintptr_t)hidden % align == 0);
#ifndef HAK_FEW /* under Valgrind not all objects are its own */
    WANT(malloc_usable_size(hidden) >= size);
#endif
    memset(hidden, 0x5a, size);
    return hidden;
}

static inline void zero(const void *obj, size_t size) {
    for (size_t i = 0; i < size; i++)
        WANT(((const char *)obj)[i] == 0);
}

#endif
