/* shim_token.h: shared by the files of functions with tokens. Layer 6. */
#ifndef HAK_SHIM_TOKEN_H
#define HAK_SHIM_TOKEN_H

#include "allocator/base/base.h"

/* (a, b) without its parentheses. */
#define HAK_BARE(...) __VA_ARGS__

/* The tokens that occur in names: those of programs compiled with -falloc-token-max of at most 16. */
#define HAK_TOKENS_IN_NAMES(DO)                                                                              \
    DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11) DO(12) DO(13) DO(14) DO(15)

/* Weak: a program that contains the archive may have its own. */
#define HAK_TOKEN_EXPORT __attribute__((visibility("default"), weak))

/* Moves the 16 tokens to the top bits, so that the upper half stays for types with pointers. */
#define HAK_TOKEN_OF_NAME(t) ((size_t)(t) << 60)

/* For a row of FORMS: the function with the token `t` in its name calls the one that takes the token as an
 * argument. */
#define HAK_TOKEN_IN_NAME(t, type, name, how, parameters, arguments)                                         \
    HAK_TOKEN_EXPORT type __alloc_token_##t##_##name parameters {                                            \
        return __alloc_token_##name(HAK_BARE arguments, HAK_TOKEN_OF_NAME(t));                               \
    }

#endif
