/* Async-signal-safe, no cancellation point, never waits long (outlet.h). A line is written by one write(2). */
#ifndef HAK_REPORT_H
#define HAK_REPORT_H

#include "allocator/base/base.h"

enum {
    HAK_LINE_MAX = 512,
    HAK_DIGITS_MAX = 24, /* characters of any 64-bit number and the 0 behind it */
};

/* Writes `n` in base 10 or 16 to the end of `room`, with a 0 behind it. Returns the first digit. */
const char *hak_digits(char room[HAK_DIGITS_MAX], uint64_t n, unsigned base);

/* A line being built; text beyond its end is cut off. */
typedef struct hak_line {
    size_t used; /* bytes */
    char text[HAK_LINE_MAX];
} hak_line;

void hak_line_begin(hak_line *line); /* starts with "hakmem: " */
void hak_line_text(hak_line *line, const char *text);
void hak_line_number(hak_line *line, uint64_t n);
void hak_line_hex(hak_line *line, uintptr_t n); /* with 0x */
/* Ends the line and writes it to stderr. Keeps errno. */
void hak_line_end(hak_line *line);

/* Begins the line `hakmem: <error>: <call>(<addr>): `. With `stranger` the address is left out: `<call>(-)`.
 * With `call` NULL both are left out. */
void hak_line_error(hak_line *line, const char *error, const char *call, uintptr_t addr, bool stranger);

/* Writes a whole line of this form to stderr. */
void hak_line_error_send(const char *error, const char *call, uintptr_t addr, const char *what);

/* Reports an error of the program: writes `hakmem: <error>: <call>(<addr>): <what>` to stderr and ends the
 * process by SIGABRT (death.h). The caller holds no lock of ours. */
_Noreturn void hak_die_at(const char *error, const char *call, uintptr_t addr, const char *what);

#endif
