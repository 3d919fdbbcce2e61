/* shim_token.h: what both files of names with tokens need. Layer 6. */
#ifndef HAK_SHIM_TOKEN_H
#define HAK_SHIM_TOKEN_H

#include "allocator/base/base.h"

/* (a, b) without its parentheses. */
#define HAK_BARE(...) __VA_ARGS__

/* The tokens that names have, of programs that were compiled with -falloc-token-max of at most 16. */
#define HAK_TOKENS_IN_NAMES(DO)                                                                              \
    DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11) DO(12) DO(13) DO(14) DO(15)

/* The upper half is for types with pointers, as it is among 16. */
#define HAK_TOKEN_OF_NAME(t) ((size_t)(t) << 60)

#endif
