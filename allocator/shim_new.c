/* shim_new.c: C++'s operator new and delete, by their mangled names (Itanium C++ ABI, 5.1.5), so that libstdc++ is
 * not needed. Layer 6. Sources: C++17 [new.delete], including the loop over the new handler. */
#include "allocator/alloc.h"
#include "allocator/report.h"

#include <errno.h>

#define EXPORT __attribute__((visibility("default")))

/* libstdc++ and libc++ export these; NULL in a program without either. */
typedef void (*new_handler)(void);
extern new_handler _ZSt15get_new_handlerv(void) __attribute__((weak));      /* std::get_new_handler() */
extern _Noreturn void _ZSt17__throw_bad_allocv(void) __attribute__((weak)); /* std::__throw_bad_alloc() */

static HAK_NOINLINE void *make(size_t size, hak_origin origin) {
    if (origin.align_log2 <= HAK_ALIGN_LOG2)
        return hak_object_make(size, origin);
    return hak_object_make_aligned(size, origin);
}

/* Asks the program's new handler for memory until there is some; NULL when it has no handler (left). */
static HAK_COLD void *make_after_handler(size_t size, hak_origin origin) {
    void *obj = NULL;
    while (obj == NULL) {
        new_handler handler = _ZSt15get_new_handlerv != NULL ? _ZSt15get_new_handlerv() : NULL;
        if (handler == NULL)
            return NULL;
        handler(); /* may throw, or end the process */
        obj = make(size, origin);
    }
    return obj;
}

static HAK_COLD void *new_failed(size_t size, hak_origin origin, bool may_throw) {
    void *obj = make_after_handler(size, origin);
    if (obj != NULL || !may_throw)
        return obj;
    if (_ZSt17__throw_bad_allocv != NULL)
        _ZSt17__throw_bad_allocv();
    hak_die("out of memory", "operator new, and no C++ library to throw std::bad_alloc");
}

HAK_INLINE void *make_plain(size_t size, hak_family family, bool may_throw) {
    hak_origin origin = {family, HAK_ALIGN_LOG2};
    void *obj = hak_object_make(size, origin);
    return HAK_LIKELY(obj != NULL) ? obj : new_failed(size, origin, may_throw);
}

HAK_INLINE void *make_aligned(size_t size, size_t align, hak_family family, bool may_throw) {
    hak_origin origin = {family, (unsigned)hak_max(hak_log2(align), HAK_ALIGN_LOG2)};
    void *obj = make(size, origin);
    return HAK_LIKELY(obj != NULL) ? obj : new_failed(size, origin, may_throw);
}

#define NO_SIZE  HAK_CLAIM_NO_SIZE
#define NO_ALIGN HAK_CLAIM_ANY

HAK_INLINE void end(void *obj, hak_family family, uint64_t size, uint64_t align_log2) {
    hak_claim claim = HAK_CLAIM(family == HAK_FAMILY_NEW ? "operator delete" : "operator delete[]", family);
    claim.size = size;
    claim.align_log2 = align_log2;
    hak_object_end(obj, claim);
}

HAK_INLINE uint64_t log2_of(size_t align) {
    return hak_is_pow2(align) ? hak_log2(align) : NO_ALIGN - 1;
}

/* One set for new, one for new[]: `n` is what the mangled name has for it. The second parameter of the nothrow forms is
 * std::nothrow, an empty object by reference; std::align_val_t is passed as a size_t. */
#define NEW_AND_DELETE(n, d, family)                                                                         \
    EXPORT void *n##m(size_t size) {                                                                         \
        return make_plain(size, family, true);                                                               \
    }                                                                                                        \
    EXPORT void *n##mRKSt9nothrow_t(size_t size, const void *tag) {                                          \
        return (void)tag, make_plain(size, family, false);                                                   \
    }                                                                                                        \
    EXPORT void *n##mSt11align_val_t(size_t size, size_t align) {                                            \
        return make_aligned(size, align, family, true);                                                      \
    }                                                                                                        \
    EXPORT void *n##mSt11align_val_tRKSt9nothrow_t(size_t size, size_t align, const void *tag) {             \
        return (void)tag, make_aligned(size, align, family, false);                                          \
    }                                                                                                        \
    EXPORT void d##Pv(void *obj) {                                                                           \
        end(obj, family, NO_SIZE, NO_ALIGN);                                                                 \
    }                                                                                                        \
    EXPORT void d##PvRKSt9nothrow_t(void *obj, const void *tag) {                                            \
        (void)tag, end(obj, family, NO_SIZE, NO_ALIGN);                                                      \
    }                                                                                                        \
    EXPORT void d##Pvm(void *obj, size_t size) {                                                             \
        end(obj, family, hak_claim_size(size), NO_ALIGN);                                                    \
    }                                                                                                        \
    EXPORT void d##PvSt11align_val_t(void *obj, size_t align) {                                              \
        end(obj, family, NO_SIZE, log2_of(align));                                                           \
    }                                                                                                        \
    EXPORT void d##PvmSt11align_val_t(void *obj, size_t size, size_t align) {                                \
        end(obj, family, hak_claim_size(size), log2_of(align));                                              \
    }                                                                                                        \
    EXPORT void d##PvSt11align_val_tRKSt9nothrow_t(void *obj, size_t align, const void *tag) {               \
        (void)tag, end(obj, family, NO_SIZE, log2_of(align));                                                \
    }

NEW_AND_DELETE(_Znw, _Zdl, HAK_FAMILY_NEW)
NEW_AND_DELETE(_Zna, _Zda, HAK_FAMILY_NEW_ARRAY)
