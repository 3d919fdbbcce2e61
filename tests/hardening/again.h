/* again.h: a test program that runs itself again, under another environment, because HAKMEM_HARDENING and
 * HAKMEM_SAMPLE_RATE are read once, at start. The program's main passes `what` to one of its functions, which prints
 * numbers to stdout. */
#ifndef HAK_TESTS_AGAIN_H
#define HAK_TESTS_AGAIN_H

#include <stddef.h>

/* Returns the wait status. A setting that is NULL is not set. The program's stdout, or its stderr where `of_stderr`,
 * is stored, cut at the room. */
int again_said(const char *what, const char *hardening, const char *rate, int of_stderr, char *out,
               size_t room);

/* The number that the program printed; it must exit with 0. */
long again_number(const char *what, const char *hardening, const char *rate);

#endif
