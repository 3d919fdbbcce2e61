/* contract.h: what the contract tests share: tests named by the specification's promises, and the sizes to try.
 *
 * The tests call only hakmem.h's functions, so they hold for every variant. They do not know the size classes: they
 * ask hak_usable_size for the boundaries. Where it does not show them (a variant that returns the exact request),
 * the tests use steps of an eighth of each power of two. Compiled alone; single-threaded. */
#ifndef HAK_TESTS_CONTRACT_H
#define HAK_TESTS_CONTRACT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "include/hakmem.h"

/* An entry of a test table: the text is the test's name. */
#define CASE(text, function) {text, function, NULL, NULL, NULL}

enum { CONTRACT_SIZES_MAX = 4096 };

/* The sizes to try, ascending: every size to 130, both sides of every class boundary, some large ones. */
typedef struct contract_sizes {
    size_t count;
    size_t size[CONTRACT_SIZES_MAX];
} contract_sizes;

/* Sizes up to `limit`; computed once, owned by the callee. */
const contract_sizes *contract_sizes_to(size_t limit);

/* `value`, hidden from the compiler, which would otherwise refuse impossible requests or fold them. */
size_t contract_hide(size_t value);

/* contract_fill writes the byte pattern that `seed` gives; contract_holds compares, and stops at the first
 * difference. */
void contract_fill(void *obj, size_t size, unsigned seed);
int contract_holds(const void *obj, size_t size, unsigned seed);
int contract_is_zero(const void *obj, size_t size);

#endif
