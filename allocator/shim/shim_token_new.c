/* shim_token_new.c: operator new with a token for the type, as clang calls it with -fsanitize=alloc-token; see
 * shim_token.c. Layer 6. If the program has an operator new of its own, which the compiler does not know, that
 * one is called without the token. Hints how often an object will be used (hot, cold) have no effect. */
#include "allocator/alloc.h"
#include "allocator/os/operators.h"
#include "allocator/os/valgrind.h"
#include "allocator/shim/shim_new.h"
#include "allocator/shim/shim_token.h"

/* A hint how often the object will be used. */
#define HINT __attribute__((unused)) uint8_t

/* An object and its size. */
typedef struct sized {
    void *obj;
    size_t size;
} sized;

static bool is_elsewhere(void) {
    return hak_operators_replaced() || hak_valgrind_runs();
}

/* Calls the program's own form. `align`: 0 in forms without one. `tag`: std::nothrow, or NULL in forms that
 * throw. */
static HAK_COLD void *by_program(unsigned form, size_t size, size_t align, const void *tag) {
    const void *program = hak_operators_program(&hak_operators[form]);
    if (align == 0 && tag == NULL)
        return ((void *(*)(size_t))program)(size);
    if (align == 0)
        return ((void *(*)(size_t, const void *))program)(size, tag);
    if (tag == NULL)
        return ((void *(*)(size_t, size_t))program)(size, align);
    return ((void *(*)(size_t, size_t, const void *))program)(size, align, tag);
}

static HAK_NOINLINE void *make(size_t size, size_t align, hak_origin origin, bool may_throw,
                               uintptr_t caller) {
    void *obj = align <= HAK_MIN_ALIGN ? hak_object_make(size, origin, caller)
                                       : hak_object_make_aligned(size, origin, caller);
    return HAK_LIKELY(obj != NULL) ? obj : hak_new_failed(size, align, origin, may_throw);
}

HAK_INLINE void *make_plain(hak_family family, size_t size, const void *tag, size_t token) {
    if (HAK_UNLIKELY(is_elsewhere()))
        return by_program((family == HAK_FAMILY_NEW ? 0 : HAK_FORMS) +
                              (tag == NULL ? HAK_NEW : HAK_NEW_NOTHROW),
                          size, 0, tag);
    hak_origin origin = {family, HAK_ALIGN_LOG2, hak_policy_partition(token)};
    return make(size, 0, origin, tag == NULL, HAK_CALLER);
}

HAK_INLINE void *make_aligned(hak_family family, size_t size, size_t align, const void *tag, size_t token) {
    if (HAK_UNLIKELY(is_elsewhere()))
        return by_program((family == HAK_FAMILY_NEW ? 0 : HAK_FORMS) +
                              (tag == NULL ? HAK_NEW_ALIGNED : HAK_NEW_ALIGNED_NOTHROW),
                          size, align, tag);
    if (HAK_UNLIKELY(!hak_is_pow2(align)))
        return hak_new_align_refused(tag == NULL);
    hak_origin origin = {family, (unsigned)hak_max(hak_log2(align), HAK_ALIGN_LOG2),
                         hak_policy_partition(token)};
    return make(size, align, origin, tag == NULL, HAK_CALLER);
}

/* Reports the requested size as the usable size. More may be usable, but a caller need not know. */
HAK_INLINE sized make_sized(size_t size, size_t align, size_t token) {
    void *obj = align == 0 ? make_plain(HAK_FAMILY_NEW, size, NULL, token)
                           : make_aligned(HAK_FAMILY_NEW, size, align, NULL, token);
    return (sized){obj, size};
}

/* DO(token in the name, type, name, call, parameters, arguments). std::nothrow is an empty object, passed by
 * reference, std::align_val_t a size_t. */
#define FORMS_OF(DO, t, n, family)                                                                           \
    DO(t, void *, n##m, make_plain(family, size, NULL, token), (size_t size), (size))                        \
    DO(t, void *, n##mRKSt9nothrow_t, make_plain(family, size, tag, token), (size_t size, const void *tag),  \
       (size, tag))                                                                                          \
    DO(t, void *, n##mSt11align_val_t, make_aligned(family, size, align, NULL, token),                       \
       (size_t size, size_t align), (size, align))                                                           \
    DO(t, void *, n##mSt11align_val_tRKSt9nothrow_t, make_aligned(family, size, align, tag, token),          \
       (size_t size, size_t align, const void *tag), (size, align, tag))                                     \
    DO(t, void *, n##m12__hot_cold_t, make_plain(family, size, NULL, token), (size_t size, HINT hot),        \
       (size, hot))                                                                                          \
    DO(t, void *, n##mRKSt9nothrow_t12__hot_cold_t, make_plain(family, size, tag, token),                    \
       (size_t size, const void *tag, HINT hot), (size, tag, hot))                                           \
    DO(t, void *, n##mSt11align_val_t12__hot_cold_t, make_aligned(family, size, align, NULL, token),         \
       (size_t size, size_t align, HINT hot), (size, align, hot))                                            \
    DO(t, void *, n##mSt11align_val_tRKSt9nothrow_t12__hot_cold_t,                                           \
       make_aligned(family, size, align, tag, token),                                                        \
       (size_t size, size_t align, const void *tag, HINT hot), (size, align, tag, hot))
#define FORMS(DO, t)                                                                                         \
    FORMS_OF(DO, t, _Znw, HAK_FAMILY_NEW)                                                                    \
    FORMS_OF(DO, t, _Zna, HAK_FAMILY_NEW_ARRAY)                                                              \
    DO(t, sized, __size_returning_new, make_sized(size, 0, token), (size_t size), (size))                    \
    DO(t, sized, __size_returning_new_hot_cold, make_sized(size, 0, token), (size_t size, HINT hot),         \
       (size, hot))                                                                                          \
    DO(t, sized, __size_returning_new_aligned, make_sized(size, align, token), (size_t size, size_t align),  \
       (size, align))                                                                                        \
    DO(t, sized, __size_returning_new_aligned_hot_cold, make_sized(size, align, token),                      \
       (size_t size, size_t align, HINT hot), (size, align, hot))

#define WITH_TOKEN(t, type, name, call, parameters, arguments)                                               \
    HAK_TOKEN_EXPORT HAK_NOINLINE type __alloc_token_##name(HAK_BARE parameters, size_t token) {             \
        return call;                                                                                         \
    }
FORMS(WITH_TOKEN, )

#define FAST(t) FORMS(HAK_TOKEN_IN_NAME, t)
HAK_TOKENS_IN_NAMES(FAST)
