/* shim_new.h: what operator new does when it fails; shared with shim_token_new.c. Layer 6. */
#ifndef HAK_SHIM_NEW_H
#define HAK_SHIM_NEW_H

#include "allocator/base/claim.h"

/* In the order of hak_operators. The forms for arrays follow, HAK_FORMS later. */
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

/* There is no memory: calls the program's new handler and tries again, or fails as C++ requires. `align`: 0 in
 * forms without one. */
void *hak_new_failed(size_t size, size_t align, hak_origin origin, bool may_throw);

/* The alignment is no power of two: fails without calling the new handler, as the C++ library does. */
void *hak_new_align_refused(bool may_throw);

#endif
