/* again.h: a test program that runs itself again, under another environment: what HAKMEM_HARDENING and
 * HAKMEM_SAMPLE_RATE say is read once, at start. The program's main gives `what` to one of its functions, which
 * prints numbers to stdout. */
#ifndef HAK_TESTS_AGAIN_H
#define HAK_TESTS_AGAIN_H

#include <stddef.h>

/* The wait status. The settings may be NULL: not set. What it wrote to stdout, cut at the room; to stderr where
 * `of_stderr`. */
int again_said(const char *what, const char *hardening, const char *rate, int of_stderr, char *out,
               size_t room);

/* The number that it printed; it must exit with 0. */
long again_number(const char *what, const char *hardening, const char *rate);

#endif
