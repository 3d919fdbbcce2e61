/* prove_options.c: the numbers of allocator/options.c. */
#include "proofs/proofs.h"

#include "allocator/options.c"

enum { LENGTH = 7 };
static char assignment[LENGTH + 3] = "N=";
static char *environment[2] = {assignment, NULL};
char **hak_os_environment(void) {
    return environment;
}
bool hak_os_secure(void) {
    return false;
}

void hak_line_begin(hak_line *line) {
    (void)line;
}
void hak_line_text(hak_line *line, const char *said) {
    (void)line, (void)said;
}
void hak_line_end(hak_line *line) {
    (void)line;
}

/* Proves: a number of an option is what its digits say, at most the most that is accepted; anything else is refused
 * and changes nothing For: all texts of up to 7 bytes, most 1048576 Mutant: option_last_char_ignored Flags: --unwind
 * 11 --no-standard-checks */
void prove_number(void) {
    unsigned length = nondet_unsigned() % (LENGTH + 1), out = 77;
    uint64_t value = 0;
    bool digits = length != 0;
    for (unsigned i = 0; i < LENGTH; i++) {
        char c = (char)nondet_u32();
        ASSUME(i >= length || c != 0);
        assignment[2 + i] = i < length ? c : 0;
        if (i < length)
            value = value * 10 + (uint64_t)(c - '0');
        digits = digits && (i >= length || (c >= '0' && c <= '9'));
    }
    bool taken = read_number("N", 1048576, "", "", &out);
    PROVE(taken == (digits && value <= 1048576));
    PROVE(out == (taken ? value : 77));
}
