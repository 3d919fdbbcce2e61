/* claim.h: what the program says about an object when it allocates it (origin) and when it frees it (claim).
 * Layer 0. */
#ifndef HAK_CLAIM_H
#define HAK_CLAIM_H

#include "allocator/base/base.h"

/* Which functions allocate an object, and which may free it. */
typedef enum hak_family { HAK_FAMILY_MALLOC, HAK_FAMILY_NEW, HAK_FAMILY_NEW_ARRAY } hak_family;

/* What the program said when it allocated the object. */
typedef struct hak_origin {
    hak_family family;
    unsigned align_log2 : 16; /* 4: the alignment that every object has */
    unsigned partition : 15;  /* of the typed heap (hak_policy_partition); 0: none */
    unsigned untouched : 1;   /* calloc avoids touching its pages: the program may never use all of them */
} hak_origin;

/* What the program says when it frees the object. Two registers wide, so passing it costs nothing. */
typedef struct hak_claim {
    const char *call;        /* the function's name, for a report */
    uint64_t size : 48;      /* bytes; HAK_CLAIM_NO_SIZE: unknown */
    uint64_t align_log2 : 8; /* HAK_CLAIM_ANY, HAK_CLAIM_LOOSE: unknown */
    uint64_t family : 8;     /* hak_family */
} hak_claim;

#define HAK_CLAIM_NO_SIZE (((uint64_t)1 << 48) - 1)
enum {
    HAK_CLAIM_ANY = 255,
    HAK_CLAIM_WRONG = 254, /* no power of two */
    HAK_CLAIM_LOOSE = 253, /* unknown; a size without an alignment then does not imply the usual alignment */
    HAK_ALIGN_LOG2 = 4,
};

/* A claim that only names the function. */
#define HAK_CLAIM(name, its_family)                                                                          \
    ((hak_claim){                                                                                            \
        .call = (name), .size = HAK_CLAIM_NO_SIZE, .align_log2 = HAK_CLAIM_ANY, .family = (its_family)})

/* The size as a claim stores it. Sizes that do not fit become the largest one; no object is that large. */
static inline uint64_t hak_claim_size(size_t size) {
    return size < HAK_CLAIM_NO_SIZE ? size : HAK_CLAIM_NO_SIZE - 1;
}

#endif
