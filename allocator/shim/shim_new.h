/* shim_new.h: what operator new does besides making an object, for shim_token_new.c too. Layer 6. */
#ifndef HAK_SHIM_NEW_H
#define HAK_SHIM_NEW_H

#include "allocator/base/claim.h"

/* In the order of hak_operators; those of arrays HAK_FORMS later. */
enum {
    HAK_NEW,
    HAK_NEW_NOTHROW,
    HAK_NEW_ALIGNED,
    HAK_NEW_ALIGNED_NOTHROW,
    HAK_DELETE,
    HAK_DELETE_NOTHROW,
    HAK_DELETE_SIZED,
    HAK_DELETE_ALIGNED,
    HAK_DELETE_SIZED_ALIGNED,
    HAK_DELETE_ALIGNED_NOTHROW,
    HAK_FORMS
};

/* There is no memory: what the program's new handler gets, or the end that C++ wants. `align`: 0 in the forms without
 * one. */
void *hak_new_failed(size_t size, size_t align, hak_origin origin, bool may_throw);

/* The alignment is no power of two. As the C++ library does: no handler is asked. */
void *hak_new_align_refused(bool may_throw);

#endif
