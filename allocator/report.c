/* report.c: see report.h. */
#include "allocator/report.h"

#include "allocator/check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void line_bytes(hak_line *line, const char *bytes, size_t count) {
    size_t room = HAK_LINE_MAX - 1 - line->used; /* one byte stays for the newline */
    if (count > room)
        count = room;
    memcpy(line->text + line->used, bytes, count);
    line->used += count;
}

void hak_line_begin(hak_line *line) {
    line->used = 0;
    hak_line_text(line, "hakmem: ");
}

void hak_line_text(hak_line *line, const char *text) {
    line_bytes(line, text, strlen(text));
}

static void line_digits(hak_line *line, uint64_t n, unsigned base) {
    char digits[20]; /* 2^64 has 20 decimal digits */
    size_t at = sizeof digits;
    do {
        digits[--at] = "0123456789abcdef"[n % base];
        n /= base;
    } while (n != 0);
    line_bytes(line, digits + at, sizeof digits - at);
}

void hak_line_number(hak_line *line, uint64_t n) {
    line_digits(line, n, 10);
}

void hak_line_hex(hak_line *line, uintptr_t n) {
    hak_line_text(line, "0x");
    line_digits(line, n, 16);
}

void hak_line_end(hak_line *line) {
    int saved = errno;
    line->text[line->used++] = '\n';
    size_t done = 0;
    while (done < line->used) {
        ssize_t n = write(STDERR_FILENO, line->text + done, line->used - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break; /* nobody listens; there is no better place to say so */
        done += (size_t)n;
    }
    errno = saved;
}

void hak_die(const char *crime, const char *what) {
    hak_line line;
    hak_line_begin(&line);
    hak_line_text(&line, crime);
    hak_line_text(&line, ": ");
    hak_line_text(&line, what);
    hak_line_end(&line);
    abort();
}

void hak_die_at(const char *crime, const char *call, uintptr_t addr, const char *what) {
    hak_line line;
    hak_line_begin(&line);
    hak_line_text(&line, crime);
    hak_line_text(&line, ": ");
    hak_line_text(&line, call);
    hak_line_text(&line, "(");
    hak_line_hex(&line, addr);
    hak_line_text(&line, "): ");
    hak_line_text(&line, what);
    hak_line_end(&line);
    abort();
}
