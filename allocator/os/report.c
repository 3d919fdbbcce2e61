/* report.c: see report.h. */
#include "allocator/os/report.h"

#include "allocator/base/bits.h"
#include "allocator/base/check.h"
#include "allocator/base/lock.h"
#include "allocator/base/probe.h"
#include "allocator/os/death.h"
#include "allocator/os/outlet.h"

#include <string.h>

void hak_line_begin(hak_line *line) {
    line->used = 0;
    hak_line_text(line, "hakmem: ");
}

void hak_line_text(hak_line *line, const char *text) {
    size_t room = HAK_LINE_MAX - 1 - line->used; /* one byte is left for the newline */
    size_t count = hak_min(strlen(text), room);
    memcpy(line->text + line->used, text, count);
    line->used += count;
}

const char *hak_digits(char room[HAK_DIGITS_MAX], uint64_t n, unsigned base) {
    char *at = room + HAK_DIGITS_MAX - 1;
    *at = '\0';
    do
        *--at = "0123456789abcdef"[n % base];
    while ((n /= base) != 0);
    return at;
}

void hak_line_number(hak_line *line, uint64_t n) {
    char room[HAK_DIGITS_MAX];
    hak_line_text(line, hak_digits(room, n, 10));
}

void hak_line_hex(hak_line *line, uintptr_t n) {
    char room[HAK_DIGITS_MAX];
    hak_line_text(line, "0x");
    hak_line_text(line, hak_digits(room, n, 16));
}

void hak_line_end(hak_line *line) {
    hak_outlet to;
    line->text[line->used++] = '\n';
    hak_outlet_stderr(&to);
    hak_outlet_send(&to, line->text, line->used);
    hak_outlet_close(&to);
}

void hak_line_error(hak_line *line, const char *error, const char *call, uintptr_t addr, bool stranger) {
    hak_line_begin(line);
    hak_line_text(line, error);
    hak_line_text(line, ": ");
    if (call == NULL)
        return;
    hak_line_text(line, call);
    hak_line_text(line, "(");
    if (stranger)
        hak_line_text(line, "-"); /* a stranger must not learn where the heap is */
    else
        hak_line_hex(line, addr);
    hak_line_text(line, "): ");
}

typedef struct death {
    const char *error, *call, *what;
    uintptr_t addr;
} death;

/* Out of line, to keep its buffers out of the caller's frame. */
HAK_COLD void hak_line_error_send(const char *error, const char *call, uintptr_t addr, const char *what) {
    hak_line line;
    hak_outlet to;
    hak_outlet_stderr(&to);
    hak_line_error(&line, error, call, addr, hak_outlet_stranger(&to));
    hak_line_text(&line, what);
    line.text[line.used++] = '\n';
    hak_outlet_send(&to, line.text, line.used);
    hak_outlet_close(&to);
}

static void send_death(const void *about) {
    const death *it = about;
    hak_line_error_send(it->error, it->call, it->addr, it->what);
}

static _Noreturn void die(const death *it, bool locked) {
    if (hak_death_turn())
        hak_death_speak(send_death, it);
    else
        send_death(it);
    hak_death_end(locked);
}

void hak_die(const char *error, const char *what) {
    die(&(death){error, NULL, what, 0}, true);
}

void hak_die_at(const char *error, const char *call, uintptr_t addr, const char *what) {
    hak_lock_check_none();
    HAK_PROBE(report, error, addr);
    die(&(death){error, call, what, addr}, false);
}
