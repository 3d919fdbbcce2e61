/* shim_token.h: what both files of names with tokens need. Layer 6. */
#ifndef HAK_SHIM_TOKEN_H
#define HAK_SHIM_TOKEN_H

#include "allocator/base/base.h"

/* (a, b) without its parentheses. */
#define HAK_BARE(...) __VA_ARGS__

/* The tokens that names have, of programs that were compiled with -falloc-token-max of at most 16. */
#define HAK_TOKENS_IN_NAMES(DO)                                                                              \
    DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11) DO(12) DO(13) DO(14) DO(15)

/* Weak: a program with the archive in it may have its own. */
#define HAK_TOKEN_EXPORT __attribute__((visibility("default"), weak))

/* The upper half is for types with pointers, as it is among 16. */
#define HAK_TOKEN_OF_NAME(t) ((size_t)(t) << 60)

/* Of a row of FORMS: the call whose token is the number `t` in its name, by the one with the token as an argument. */
#define HAK_TOKEN_IN_NAME(t, type, name, how, parameters, arguments)                                         \
    HAK_TOKEN_EXPORT type __alloc_token_##t##_##name parameters {                                            \
        return __alloc_token_##name(HAK_BARE arguments, HAK_TOKEN_OF_NAME(t));                               \
    }

#endif
