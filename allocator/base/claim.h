/* claim.h: what a caller says of an object, when it asks for one and when it ends one. Layer 0. */
#ifndef HAK_CLAIM_H
#define HAK_CLAIM_H

#include "allocator/base/base.h"

/* Which functions make an object, and which may end its life. */
typedef enum hak_family { HAK_FAMILY_MALLOC, HAK_FAMILY_NEW, HAK_FAMILY_NEW_ARRAY } hak_family;

/* What the caller said when it asked for an object. */
typedef struct hak_origin {
    hak_family family;
    unsigned align_log2 : 16; /* 4: the alignment that every object has */
    unsigned partition : 15;  /* of the typed heap, by what hak_policy_partition says of a token; 0: none */
    unsigned untouched : 1;   /* calloc would rather leave its pages alone: it may never be used to its end */
} hak_origin;

/* What the caller says when it ends the object's life. Two registers wide, so that passing it on costs nothing. */
typedef struct hak_claim {
    const char *call;        /* the function's name, for a report */
    uint64_t size : 48;      /* bytes; HAK_CLAIM_NO_SIZE: not said */
    uint64_t align_log2 : 8; /* HAK_CLAIM_ANY, HAK_CLAIM_LOOSE: not said */
    uint64_t family : 8;     /* hak_family */
} hak_claim;

#define HAK_CLAIM_NO_SIZE (((uint64_t)1 << 48) - 1)
enum {
    HAK_CLAIM_ANY = 255,
    HAK_CLAIM_WRONG = 254, /* no power of two */
    HAK_CLAIM_LOOSE = 253, /* not said, and a size with it does not mean the usual one */
    HAK_ALIGN_LOG2 = 4,
};

/* A claim that says no more than which function was called. */
#define HAK_CLAIM(name, its_family)                                                                          \
    ((hak_claim){                                                                                            \
        .call = (name), .size = HAK_CLAIM_NO_SIZE, .align_log2 = HAK_CLAIM_ANY, .family = (its_family)})

/* What a caller says a size is, as a claim holds it: no object is larger than what fits. */
static inline uint64_t hak_claim_size(size_t size) {
    return size < HAK_CLAIM_NO_SIZE ? size : HAK_CLAIM_NO_SIZE - 1;
}

#endif
