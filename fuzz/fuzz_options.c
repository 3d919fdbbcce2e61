/* fuzz_options.c: the environment's settings against a second, plain parser of options.h. Input: lines `digit
 * value`, where the digit chooses the variable. A wrong value is reported in one line and leaves the default. */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "allocator/options.h"
#include "fuzz/bytes.h"
#include "fuzz/engine.h"

enum { VARIABLES = 8, VALUE_MAX = 64, COMPLAINTS_MAX = 8192 };

extern char **environ;

static const char *const names[VARIABLES] = {
    "HAKMEM_PROFILE", "HAKMEM_SS_MEM_LEAN", "HAKMEM_SS_MEM_LEAN_DECOMMIT", "HAKMEM_SS_MEM_LEAN_TARGET_MB",
    "HAKMEM_SS_HUGE", "HAKMEM_SS_PREWARM",  "HAKMEM_SS_OS_STATS",          "HAKMEM_SS_BACKGROUND",
};

static char entries[VARIABLES][VALUE_MAX + 48];
static const char *values[VARIABLES]; /* NULL: not set */

/* Lines of the input become the environment; the first that names a variable wins, as in a real one. */
static void build_environment(const uint8_t *bytes, size_t length, char **environment) {
    memset(values, 0, sizeof values);
    unsigned used = 0;
    for (size_t at = 0; at < length;) {
        const uint8_t *end = memchr(bytes + at, '\n', length - at);
        size_t line = end != NULL ? (size_t)(end - (bytes + at)) : length - at;
        unsigned which = bytes[at] % VARIABLES;
        if (line > 0 && line <= VALUE_MAX && values[which] == NULL && memchr(bytes + at, 0, line) == NULL) {
            int name = snprintf(entries[which], sizeof entries[which], "%s=", names[which]);
            memcpy(entries[which] + name, bytes + at + 1, line - 1);
            entries[which][(size_t)name + line - 1] = 0;
            values[which] = entries[which] + name;
            environment[used++] = entries[which];
        }
        at += line + 1;
    }
    environment[used] = NULL;
}

/* The number that the text has in plain decimal digits; otherwise `otherwise`, and a complaint. */
static unsigned long number(unsigned which, unsigned long most, unsigned long otherwise,
                            unsigned *complaints) {
    const char *text = values[which];
    if (text == NULL)
        return otherwise;
    unsigned long n =
        strspn(text, "0123456789") == strlen(text) && *text ? strtoul(text, NULL, 10) : most + 1;
    if (n <= most)
        return n;
    ++*complaints;
    return otherwise;
}

static unsigned word(unsigned which, const char *const *accepted, unsigned count, unsigned otherwise,
                     unsigned *complaints) {
    for (unsigned i = 0; values[which] != NULL && i < count; i++)
        if (strcmp(values[which], accepted[i]) == 0)
            return i;
    *complaints += values[which] != NULL;
    return otherwise;
}

/* A second parser of options.h. Returns the number of complaints. */
static unsigned expect(hak_options *want) {
    static const char *const profiles[] = {"speed", "balanced", "MIXED_TINYV3_C7_SAFE",
                                           "MIXED_TINYV3_C7_BALANCED"};
    static const char *const decommits[] = {"OFF", "FREE", "DONTNEED"};
    static const char *const huge[] = {"OFF", "AUTO", "ALWAYS"};
    unsigned complaints = 0;
    bool balanced = word(0, profiles, 4, 1, &complaints) % 2 == 1;
    unsigned how = word(2, decommits, 3, 0, &complaints);
    bool lean = balanced || how != 0;
    unsigned before = complaints;
    lean = number(1, 1, lean, &complaints);
    bool lean_said = values[1] != NULL && complaints == before;
    want->lean = lean;
    want->decommit = (hak_decommit)how;
    want->target = number(3, 1048576, 10, &complaints) << 20;
    (void)word(4, huge, 3, 1, &complaints);
    want->prewarm = (unsigned)number(5, 64, lean_said ? (lean ? 0 : 4) : balanced ? 0 : 4, &complaints);
    want->os_stats = number(6, 1, 0, &complaints);
    want->background = number(7, 1, 0, &complaints);
    return complaints;
}

/* Reads the options with stderr redirected to a file; returns the number of lines written. */
static unsigned read_options(void) {
    static int capture = -1, saved;
    static char text[COMPLAINTS_MAX];
    if (capture < 0) {
        capture = memfd_create("complaints", 0);
        saved = dup(STDERR_FILENO);
    }
    BYTES_RULE(ftruncate(capture, 0) == 0 && lseek(capture, 0, SEEK_SET) == 0, "the capture can be emptied");
    dup2(capture, STDERR_FILENO);
    hak_options_read();
    dup2(saved, STDERR_FILENO);
    ssize_t got = pread(capture, text, sizeof text, 0);
    unsigned lines = 0;
    for (ssize_t i = 0; i < got; i++)
        lines += text[i] == '\n' && (i + 1 == got || strncmp(text + i + 1, "hakmem: ", 8) == 0);
    BYTES_RULE(got == 0 || text[got - 1] == '\n', "a complaint ends with a newline");
    return lines;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    char *environment[VARIABLES + 1], **real = environ;
    hak_options want;
    build_environment(bytes, length, environment);
    unsigned complaints = expect(&want);
    environ = environment;
    unsigned lines = read_options();
    environ = real;
    BYTES_RULE(lines == complaints, "one line for each wrong value, none for a right one");
    BYTES_RULE(hak_option.lean == want.lean && hak_option.decommit == want.decommit,
               "gate and decommit policy");
    BYTES_RULE(hak_option.target == want.target && hak_option.prewarm == want.prewarm, "target and prewarm");
    BYTES_RULE(hak_option.os_stats == want.os_stats, "statistics at exit");
    BYTES_RULE(hak_option.background == want.background, "a thread of its own");
    return 0;
}
