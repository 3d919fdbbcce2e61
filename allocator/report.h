/* report.h: lines on stderr, written without an allocation and without a lock. Layer 0.
 * Async-signal-safe: a line is built on the caller's stack and leaves in one write(2). */
#ifndef HAK_REPORT_H
#define HAK_REPORT_H

#include "allocator/base.h"

enum { HAK_LINE_MAX = 512 };

/* A line being built; what does not fit is cut off. */
typedef struct hak_line {
    size_t used; /* bytes */
    char text[HAK_LINE_MAX];
} hak_line;

void hak_line_begin(hak_line *line); /* starts with "hakmem: " */
void hak_line_text(hak_line *line, const char *text);
void hak_line_number(hak_line *line, uint64_t n);
void hak_line_hex(hak_line *line, uintptr_t n); /* with 0x */
/* Ends the line and writes it to stderr. errno is kept. */
void hak_line_end(hak_line *line);

/* A caller's crime: `hakmem: <crime>: <call>(<addr>): <what>` to stderr, then abort(). */
_Noreturn void hak_die_at(const char *crime, const char *call, uintptr_t addr, const char *what);

#endif
