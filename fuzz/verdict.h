/* verdict.h: runs code that is expected to end the process, and reports how it would have ended. One thread only.
 *
 * SIGABRT is caught and jumped out of, which leaves the allocator in the middle of a call: it must be reset before
 * it is used again. The text written to stderr meanwhile is kept. */
#ifndef FUZZ_VERDICT_H
#define FUZZ_VERDICT_H

#include <stdbool.h>
#include <stddef.h>

enum { VERDICT_TEXT_MAX = 4096 };

typedef struct verdict {
    bool died;
    char text[VERDICT_TEXT_MAX]; /* the text on stderr */
} verdict;

/* Runs the code and fills *out. */
void verdict_of(void (*code)(void *context), void *context, verdict *out);

/* Stores the error that the report's first line names, up to its colon, in `name`; false: there is no such line. */
bool verdict_error(const verdict *v, char *name, size_t room);

#endif
