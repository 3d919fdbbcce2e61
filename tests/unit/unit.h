/* unit.h: what the unit tests share: named tests, and code that must end the process with a message.
 *
 * Unit tests call the core below its public functions, so each begins at a known state: hak_test_reset. */
#ifndef HAK_TESTS_UNIT_H
#define HAK_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "allocator/life/reset.h"

/* An entry of a test table: the text is the test's name. */
#define CASE(text, function) {text, function, unit_fresh, NULL, NULL}

/* Setup: puts the allocator into its state after the start. */
int unit_fresh(void **state);

/* Runs body(arg) in a forked child: it must end by SIGABRT after a line on stderr that contains `message`. */
void unit_expect_death(void (*body)(void *arg), void *arg, const char *message);

/* The text that body(arg) writes to stderr in a forked child, which must exit; cut at sizeof(the static buffer). */
const char *unit_stderr_of(void (*body)(void *arg), void *arg);

/* Skips the test where a sanitizer has the address space: all memory lies inside reservations there. */
void unit_skip_where_reserved(void);

/* Bytes of the process's own mappings, as the kernel counts them for RLIMIT_AS; 0: unknown. */
size_t unit_address_space(void);

/* A pseudo-random number, the same sequence for the same seed (splitmix64, Steele et al. 2014). */
uint64_t unit_random(uint64_t *seed);

#endif
