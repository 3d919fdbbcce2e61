/* shim_new.c: C++'s operators new and delete, by their mangled names (Itanium C++ ABI, 5.1.5), so that
 * libstdc++ is not needed. Layer 6. Source: C++17 [new.delete], including the loop over the new handler. */
#include "allocator/shim/shim_new.h"
#include "allocator/alloc.h"
#include "allocator/os/operators.h"
#include "allocator/os/report.h"

#include <errno.h>

#define EXPORT __attribute__((visibility("default"), weak)) HAK_ENTRY

/* libstdc++ and libc++ export these; NULL in a program without either. */
typedef void (*new_handler)(void);
extern new_handler _ZSt15get_new_handlerv(void) __attribute__((weak));      /* std::get_new_handler() */
extern _Noreturn void _ZSt17__throw_bad_allocv(void) __attribute__((weak)); /* std::__throw_bad_alloc() */

static HAK_NOINLINE void *make(size_t size, hak_origin origin, uintptr_t caller) {
    if (origin.align_log2 <= HAK_ALIGN_LOG2)
        return hak_object_make(size, origin, caller);
    return hak_object_make_aligned(size, origin, caller);
}

_Static_assert(2 * HAK_FORMS == HAK_OPERATORS, "every form, for objects and for arrays");

static new_handler handler_now(void) {
    return _ZSt15get_new_handlerv != NULL ? _ZSt15get_new_handlerv() : NULL;
}

/* Calls the program's new handler and tries again until there is memory; NULL when no handler is set (any
 * more). */
static HAK_COLD void *make_after_handler(size_t size, hak_origin origin) {
    void *obj = NULL;
    while (obj == NULL) {
        new_handler handler = handler_now();
        if (handler == NULL)
            return NULL;
        handler(); /* may throw, or end the process */
        obj = make(size, origin, HAK_CALLER);
    }
    return obj;
}

static _Noreturn HAK_COLD void throw_bad_alloc(void) {
    if (_ZSt17__throw_bad_allocv != NULL)
        _ZSt17__throw_bad_allocv();
    hak_die("out of memory", "operator new, and no C++ library to throw std::bad_alloc");
}

/* Arguments and result of make_after_handler. */
typedef struct wish {
    size_t size;
    hak_origin origin;
    void *obj;
} wish;

static void fulfil(void *argument) {
    wish *it = argument;
    it->obj = make_after_handler(it->size, it->origin);
}

/* Calls the handler in a static program, which has no second form to call. */
static void *make_caught(size_t size, hak_origin origin) {
    wish it = {size, origin, NULL};
    if (hak_operators_catch != NULL)
        hak_operators_catch(fulfil, &it);
    else
        fulfil(&it);
    return it.obj;
}

/* An exception from the handler must become NULL, but C cannot catch. The C++ library's nothrow form can: it
 * calls the form that may throw, which is ours or the program's, and catches (C++17 [new.delete.single] 7). */
static HAK_COLD void *nothrow_failed(size_t size, size_t align, hak_origin origin) {
    unsigned form = (origin.family == HAK_FAMILY_NEW_ARRAY ? HAK_FORMS : 0) +
                    (align == 0 ? HAK_NEW_NOTHROW : HAK_NEW_ALIGNED_NOTHROW);
    const char nothrow = 0; /* std::nothrow is an empty object */
    if (handler_now() == NULL)
        return NULL;
    const void *library = hak_operators_library(&hak_operators[form]);
    if (library == NULL)
        return make_caught(size, origin);
    if (align == 0)
        return ((void *(*)(size_t, const void *))library)(size, &nothrow);
    return ((void *(*)(size_t, size_t, const void *))library)(size, align, &nothrow);
}

HAK_COLD void *hak_new_failed(size_t size, size_t align, hak_origin origin, bool may_throw) {
    if (!may_throw)
        return nothrow_failed(size, align, origin);
    void *obj = make_after_handler(size, origin);
    if (obj == NULL)
        throw_bad_alloc();
    return obj;
}

HAK_COLD void *hak_new_align_refused(bool may_throw) {
    if (may_throw)
        throw_bad_alloc();
    return NULL;
}

HAK_INLINE void *make_plain(size_t size, hak_family family, bool may_throw) {
    hak_origin origin = {family, HAK_ALIGN_LOG2};
    void *obj = hak_object_make(size, origin, HAK_CALLER);
    return HAK_LIKELY(obj != NULL) ? obj : hak_new_failed(size, 0, origin, may_throw);
}

HAK_INLINE void *make_aligned(size_t size, size_t align, hak_family family, bool may_throw) {
    if (HAK_UNLIKELY(!hak_is_pow2(align)))
        return hak_new_align_refused(may_throw);
    hak_origin origin = {family, (unsigned)hak_max(hak_log2(align), HAK_ALIGN_LOG2)};
    void *obj = make(size, origin, HAK_CALLER);
    return HAK_LIKELY(obj != NULL) ? obj : hak_new_failed(size, align, origin, may_throw);
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

/* If the program replaced some forms and the C++ library has all of them, its forms serve the rest, on top of
 * the program's. Otherwise ours are used, and after the first look nothing is asked any more. */
static HAK_COLD const void *form_to_call(unsigned form) {
    return hak_operators_look() ? hak_operators[form].library : hak_operators[form].ours;
}

/* Out of line with all arguments, so that the fast path saves no registers. */
#define BY_LIBRARY(name, type, args, ...)                                                                    \
    static HAK_COLD type name(unsigned form, __VA_ARGS__) {                                                  \
        return ((type(*)(__VA_ARGS__))form_to_call(form))args;                                               \
    }
BY_LIBRARY(new_plain, void *, (size), size_t size)
BY_LIBRARY(new_nothrow, void *, (size, tag), size_t size, const void *tag)
BY_LIBRARY(new_aligned, void *, (size, align), size_t size, size_t align)
BY_LIBRARY(new_aligned_nothrow, void *, (size, align, tag), size_t size, size_t align, const void *tag)
BY_LIBRARY(delete_plain, void, (obj), void *obj)
BY_LIBRARY(delete_nothrow, void, (obj, tag), void *obj, const void *tag)
BY_LIBRARY(delete_sized, void, (obj, size), void *obj, size_t size)
BY_LIBRARY(delete_aligned, void, (obj, align), void *obj, size_t align)
BY_LIBRARY(delete_sized_aligned, void, (obj, size, align), void *obj, size_t size, size_t align)
BY_LIBRARY(delete_aligned_nothrow, void, (obj, align, tag), void *obj, size_t align, const void *tag)

/* Costs one comparison. The four forms on which all others are built do without it. */
#define FORWARD(form, name, ...)                                                                             \
    if (HAK_UNLIKELY(atomic_load_explicit(&hak_operators_forward, memory_order_relaxed)))                    \
    return name(form, __VA_ARGS__)

/* One set for new, one for new[]. `n` and `d` are the prefixes of the mangled names, `base` is the first form.
 * The second parameter of the nothrow forms is std::nothrow, an empty object passed by reference;
 * std::align_val_t is passed as a size_t. Weak, because a program that contains the archive may have its own. */
#define NEW_AND_DELETE(n, d, base, family)                                                                   \
    EXPORT void *n##m(size_t size) {                                                                         \
        if (base != 0)                                                                                       \
            FORWARD(base + HAK_NEW, new_plain, size);                                                        \
        return make_plain(size, family, true);                                                               \
    }                                                                                                        \
    EXPORT void *n##mRKSt9nothrow_t(size_t size, const void *tag) {                                          \
        FORWARD(base + HAK_NEW_NOTHROW, new_nothrow, size, tag);                                             \
        return make_plain(size, family, false);                                                              \
    }                                                                                                        \
    EXPORT void *n##mSt11align_val_t(size_t size, size_t align) {                                            \
        if (base != 0)                                                                                       \
            FORWARD(base + HAK_NEW_ALIGNED, new_aligned, size, align);                                       \
        return make_aligned(size, align, family, true);                                                      \
    }                                                                                                        \
    EXPORT void *n##mSt11align_val_tRKSt9nothrow_t(size_t size, size_t align, const void *tag) {             \
        FORWARD(base + HAK_NEW_ALIGNED_NOTHROW, new_aligned_nothrow, size, align, tag);                      \
        return make_aligned(size, align, family, false);                                                     \
    }                                                                                                        \
    EXPORT void d##Pv(void *obj) {                                                                           \
        if (base != 0)                                                                                       \
            FORWARD(base + HAK_DELETE, delete_plain, obj);                                                   \
        end(obj, family, NO_SIZE, NO_ALIGN);                                                                 \
    }                                                                                                        \
    EXPORT void d##PvRKSt9nothrow_t(void *obj, const void *tag) {                                            \
        FORWARD(base + HAK_DELETE_NOTHROW, delete_nothrow, obj, tag);                                        \
        end(obj, family, NO_SIZE, NO_ALIGN);                                                                 \
    }                                                                                                        \
    EXPORT void d##Pvm(void *obj, size_t size) {                                                             \
        FORWARD(base + HAK_DELETE_SIZED, delete_sized, obj, size);                                           \
        end(obj, family, hak_claim_size(size), NO_ALIGN);                                                    \
    }                                                                                                        \
    EXPORT void d##PvSt11align_val_t(void *obj, size_t align) {                                              \
        if (base != 0)                                                                                       \
            FORWARD(base + HAK_DELETE_ALIGNED, delete_aligned, obj, align);                                  \
        end(obj, family, NO_SIZE, log2_of(align));                                                           \
    }                                                                                                        \
    EXPORT void d##PvmSt11align_val_t(void *obj, size_t size, size_t align) {                                \
        FORWARD(base + HAK_DELETE_SIZED_ALIGNED, delete_sized_aligned, obj, size, align);                    \
        end(obj, family, hak_claim_size(size), log2_of(align));                                              \
    }                                                                                                        \
    EXPORT void d##PvSt11align_val_tRKSt9nothrow_t(void *obj, size_t align, const void *tag) {               \
        FORWARD(base + HAK_DELETE_ALIGNED_NOTHROW, delete_aligned_nothrow, obj, align, tag);                 \
        end(obj, family, NO_SIZE, log2_of(align));                                                           \
    }

NEW_AND_DELETE(_Znw, _Zdl, 0, HAK_FAMILY_NEW)
NEW_AND_DELETE(_Zna, _Zda, HAK_FORMS, HAK_FAMILY_NEW_ARRAY)

/* A second name for our definition, because the first one may resolve to the program's. */
#define OURS(form, name)                                                                                     \
    extern __typeof__(name) name##_ours __attribute__((alias(#name), visibility("hidden")));
#define ENTRY(form, name) [form] = {#name, (const void *)name##_ours, (const void *)name, NULL},
#define SET(what, n, d, base)                                                                                \
    what(base + HAK_NEW, n##m) what(base + HAK_NEW_NOTHROW, n##mRKSt9nothrow_t)                              \
        what(base + HAK_NEW_ALIGNED, n##mSt11align_val_t)                                                    \
            what(base + HAK_NEW_ALIGNED_NOTHROW, n##mSt11align_val_tRKSt9nothrow_t)                          \
                what(base + HAK_DELETE, d##Pv) what(base + HAK_DELETE_NOTHROW, d##PvRKSt9nothrow_t)          \
                    what(base + HAK_DELETE_SIZED, d##Pvm)                                                    \
                        what(base + HAK_DELETE_ALIGNED, d##PvSt11align_val_t)                                \
                            what(base + HAK_DELETE_SIZED_ALIGNED, d##PvmSt11align_val_t)                     \
                                what(base + HAK_DELETE_ALIGNED_NOTHROW, d##PvSt11align_val_tRKSt9nothrow_t)

SET(OURS, _Znw, _Zdl, 0)
SET(OURS, _Zna, _Zda, HAK_FORMS)

hak_operator hak_operators[HAK_OPERATORS] = {SET(ENTRY, _Znw, _Zdl, 0) SET(ENTRY, _Zna, _Zda, HAK_FORMS)};

/* Looks early, while no other thread runs, in a program that has a C++ library. */
__attribute__((constructor(101))) static void loaded(void) {
    if (_ZSt15get_new_handlerv != NULL)
        (void)hak_operators_look();
}
