/* report.h: lines on stderr, written without an allocation and without a lock. Layer 1.
 * Async-signal-safe, no cancellation point, never waiting long: outlet.h. A line leaves in one write(2). */
#ifndef HAK_REPORT_H
#define HAK_REPORT_H

#include "allocator/base/base.h"

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

/* Begins the line `hakmem: <error>: <call>(<addr>): `. A stranger does not get the address: `<call>(-)`. `call`
 * NULL: neither. */
void hak_line_error(hak_line *line, const char *error, const char *call, uintptr_t addr, bool stranger);

/* The whole of such a line, to stderr. */
void hak_line_error_send(const char *error, const char *call, uintptr_t addr, const char *what);

/* A caller's error: `hakmem: <error>: <call>(<addr>): <what>` to stderr, then the end by SIGABRT (death.h). The
 * caller holds no lock of ours. */
_Noreturn void hak_die_at(const char *error, const char *call, uintptr_t addr, const char *what);

#endif
