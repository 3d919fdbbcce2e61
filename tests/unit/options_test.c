/* options_test.c: a table of environment settings and of what they select. */
#include "tests/unit/unit.h"

#include "allocator/options.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct row {
    const char *set[4]; /* NAME=value */
    bool lean;
    hak_decommit decommit;
    unsigned target_mb, prewarm;
    const char *complaint; /* a part of the line on stderr; NULL: none is written */
} row;

#define SAFE     "HAKMEM_PROFILE=MIXED_TINYV3_C7_SAFE"
#define BALANCED "HAKMEM_PROFILE=MIXED_TINYV3_C7_BALANCED"
#define LEAN     "HAKMEM_SS_MEM_LEAN="
#define DECOMMIT "HAKMEM_SS_MEM_LEAN_DECOMMIT="
#define TARGET   "HAKMEM_SS_MEM_LEAN_TARGET_MB="
#define PREWARM  "HAKMEM_SS_PREWARM="
#define OFF      HAK_DECOMMIT_OFF
#define LAZY     HAK_DECOMMIT_FREE
#define NOW      HAK_DECOMMIT_DONTNEED
#define WARM     4 /* superslabs, the speed profile's */

static const row rows[] = {
    {{NULL}, true, OFF, 10, 0, NULL}, /* balanced is the default */
    {{"HAKMEM_PROFILE=balanced"}, true, OFF, 10, 0, NULL},
    {{BALANCED}, true, OFF, 10, 0, NULL},
    {{"HAKMEM_PROFILE=speed"}, false, OFF, 10, WARM, NULL},
    {{SAFE}, false, OFF, 10, WARM, NULL},
    /* the gate overrides the profile, in both directions */
    {{SAFE, LEAN "1"}, true, OFF, 10, 0, NULL},
    {{BALANCED, LEAN "0"}, false, OFF, 10, WARM, NULL},
    {{LEAN "0"}, false, OFF, 10, WARM, NULL},
    {{LEAN "1"}, true, OFF, 10, 0, NULL},
    /* a decommit policy and its target */
    {{DECOMMIT "OFF"}, true, OFF, 10, 0, NULL},
    {{DECOMMIT "FREE"}, true, LAZY, 10, 0, NULL},
    {{DECOMMIT "DONTNEED", TARGET "5"}, true, NOW, 5, 0, NULL},
    {{SAFE, DECOMMIT "FREE"}, true, LAZY, 10, WARM, NULL}, /* it opens the gate */
    {{SAFE, DECOMMIT "OFF"}, false, OFF, 10, WARM, NULL},
    {{DECOMMIT "DONTNEED", TARGET "0"}, true, NOW, 0, 0, NULL},
    {{TARGET "1048576"}, true, OFF, 1048576, 0, NULL},
    {{DECOMMIT "DONTNEED", LEAN "0"},
     false,
     NOW,
     10,
     WARM,
     NULL}, /* release.c: a closed gate releases nothing */
    /* a setting wins over a preset, in either order */
    {{"HAKMEM_PROFILE=speed", PREWARM "0"}, false, OFF, 10, 0, NULL},
    {{PREWARM "7", "HAKMEM_PROFILE=balanced"}, true, OFF, 10, 7, NULL},
    {{PREWARM "64"}, true, OFF, 10, 64, NULL},
    {{PREWARM "7", LEAN "1"}, true, OFF, 10, 7, NULL},
    {{PREWARM "7", LEAN "0"}, false, OFF, 10, 7, NULL},
    {{SAFE, LEAN "1", PREWARM "3"}, true, OFF, 10, 3, NULL},
    {{DECOMMIT "OFF", LEAN "1", PREWARM "0"}, true, OFF, 10, 0, NULL},
    {{TARGET "0"}, true, OFF, 0, 0, NULL},
    {{TARGET "64"}, true, OFF, 64, 0, NULL},
    /* wrong values: one line with the accepted ones, and the default stays */
    {{"HAKMEM_PROFILE=fast"},
     true,
     OFF,
     10,
     0,
     "HAKMEM_PROFILE=fast: not understood; accepted: speed, balanced"},
    {{"HAKMEM_PROFILE="}, true, OFF, 10, 0, "HAKMEM_PROFILE=: not understood"},
    {{"HAKMEM_PROFILE=SPEED"}, true, OFF, 10, 0, "using balanced"},
    {{LEAN "2"}, true, OFF, 10, 0, "HAKMEM_SS_MEM_LEAN=2: not understood; accepted: 0, 1; using 1"},
    {{LEAN "yes"}, true, OFF, 10, 0, "accepted: 0, 1; using 1"},
    {{SAFE, LEAN ""}, false, OFF, 10, WARM, "accepted: 0, 1; using 0"},
    {{DECOMMIT "dontneed"},
     true,
     OFF,
     10,
     0,
     "DECOMMIT=dontneed: not understood; accepted: OFF, FREE, DONTNEED; using OFF"},
    {{TARGET "-1"}, true, OFF, 10, 0, "TARGET_MB=-1: not understood; accepted: 0 to 1048576; using 10"},
    {{TARGET "10MB"}, true, OFF, 10, 0, "TARGET_MB=10MB: not understood"},
    {{TARGET "1048577"}, true, OFF, 10, 0, "TARGET_MB=1048577: not understood"},
    {{TARGET "99999999999999999999999999"}, true, OFF, 10, 0, "not understood; accepted: 0 to 1048576"},
    {{TARGET "18446744073709551621"},
     true,
     OFF,
     10,
     0,
     "not understood; accepted: 0 to 1048576"}, /* 2^64 + 5 */
    {{TARGET " 5"}, true, OFF, 10, 0, "not understood; accepted: 0 to 1048576"},
    {{PREWARM "65"}, true, OFF, 10, 0, "accepted: 0 to 64"},
    {{"HAKMEM_SS_OS_STATS=on"},
     true,
     OFF,
     10,
     0,
     "HAKMEM_SS_OS_STATS=on: not understood; accepted: 0, 1; using 0"},
    {{"HAKMEM_SS_BACKGROUND=2"},
     true,
     OFF,
     10,
     0,
     "HAKMEM_SS_BACKGROUND=2: not understood; accepted: 0, 1; using 0"},
    /* names that only begin alike */
    {{"HAKMEM_PROFILEX=speed", "HAKMEM_SS_MEM_LEAN_=0", "XHAKMEM_PROFILE=speed"}, true, OFF, 10, 0, NULL},
};

static const char *const names[] = {
    "HAKMEM_PROFILE",    "HAKMEM_SS_MEM_LEAN", "HAKMEM_SS_MEM_LEAN_DECOMMIT", "HAKMEM_SS_MEM_LEAN_TARGET_MB",
    "HAKMEM_SS_PREWARM", "HAKMEM_SS_OS_STATS", "HAKMEM_SS_BACKGROUND",        "HAKMEM_SS_HUGE"};

/* Runs in a child, so that the settings end with it. Exit 1: the result is wrong. */
static void read_row(void *arg) {
    const row *it = arg;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        unsetenv(names[i]);
    for (int i = 0; i < 4 && it->set[i] != NULL; i++)
        putenv((char *)(uintptr_t)it->set[i]);
    hak_options_read();
    bool right = hak_option.lean == it->lean && hak_option.decommit == it->decommit &&
                 hak_option.target == (size_t)it->target_mb * HAK_MIB && hak_option.prewarm == it->prewarm &&
                 !hak_option.os_stats && !hak_option.background;
    if (!right)
        _exit(1);
}

static void table(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *text = unit_stderr_of(read_row, (void *)(uintptr_t)&rows[i]);
        bool right = rows[i].complaint == NULL ? text[0] == 0 : strstr(text, rows[i].complaint) != NULL;
        const char *newline = strchr(text, '\n');
        if (!right || (newline != NULL && newline[1] != 0))
            fail_msg("row %zu (%s): stderr: %s", i, rows[i].set[0], text);
    }
}

static void huge_and_stats(void *unused) {
    (void)unused;
    setenv("HAKMEM_SS_OS_STATS", "1", 1);
    const size_t never = SIZE_MAX, large = 12 * HAK_MIB;
    const struct {
        const char *huge, *decommit, *gate;
        size_t from;
    } settings[] = {
        {"OFF", "OFF", "1", never},      {"AUTO", "OFF", "1", large},      {"AUTO", "DONTNEED", "1", never},
        {"AUTO", "FREE", "1", never},    {"AUTO", "DONTNEED", "0", large}, {"AUTO", "FREE", "0", large},
        {"ALWAYS", "OFF", "1", 0},       {"ALWAYS", "FREE", "1", 0},       {"ALWAYS", "DONTNEED", "0", 0},
        {"OFF", "DONTNEED", "0", never}, {"OFF", "OFF", "0", never},       {NULL, "OFF", "1", large}};
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        if (settings[i].huge != NULL)
            setenv("HAKMEM_SS_HUGE", settings[i].huge, 1);
        else
            unsetenv("HAKMEM_SS_HUGE");
        setenv("HAKMEM_SS_MEM_LEAN", settings[i].gate, 1);
        setenv("HAKMEM_SS_MEM_LEAN_DECOMMIT", settings[i].decommit, 1);
        hak_options_read();
        if (hak_option.huge_from != settings[i].from || !hak_option.os_stats)
            _exit(1);
    }
}

static void the_rest(void **state) {
    (void)state;
    assert_string_equal(unit_stderr_of(huge_and_stats, NULL), "");
}

/* Paths of up to 239 bytes; an empty one is none. The heap profile is on when either of its outputs is. */
static bool is_read(size_t length, bool accepted) {
    static char path[300];
    memset(path, 'p', length);
    path[length] = '\0';
    setenv("HAKMEM_STATS", path, 1);
    setenv("HAKMEM_HEAP_PROFILE", path, 1);
    hak_options_read();
    if (!accepted)
        return hak_option.stats_path == NULL && hak_option.heap_path == NULL && hak_option.heap_rate == 0;
    return hak_option.stats_path != NULL && strcmp(hak_option.stats_path, path) == 0 &&
           hak_option.heap_path != NULL && strcmp(hak_option.heap_path, path) == 0 &&
           hak_option.heap_rate != 0;
}
static void paths_of(void *unused) {
    (void)unused;
    if (!is_read(239, true) || !is_read(0, false) || !is_read(1, true))
        _exit(1);
    unsetenv("HAKMEM_HEAP_PROFILE");
    setenv("HAKMEM_HEAP_LEAKS", "1", 1);
    hak_options_read();
    if (hak_option.heap_path != NULL || !hak_option.heap_leaks || hak_option.heap_rate == 0)
        _exit(2);
}
static void path_that_is_longer(void *unused) {
    (void)unused;
    if (!is_read(240, false))
        _exit(1);
}
static void paths(void **state) {
    (void)state;
    assert_string_equal(unit_stderr_of(paths_of, NULL), "");
    const char *said = unit_stderr_of(path_that_is_longer, NULL);
    assert_non_null(strstr(said, "HAKMEM_STATS=ppp"));
    assert_non_null(strstr(said, "accepted: a path of at most 239 bytes; using none"));
}

static void text_of(void *unused) {
    (void)unused;
    setenv("HAKMEM_TEST_TEXT", "a=b", 1);
    if (strcmp(hak_options_text("HAKMEM_TEST_TEXT"), "a=b") != 0 ||
        hak_options_text("HAKMEM_TEST_TEX") != NULL || hak_options_text("HAKMEM_TEST_TEXT_") != NULL)
        _exit(1);
    clearenv();
    if (hak_options_text("HAKMEM_TEST_TEXT") != NULL)
        _exit(2);
}

static void texts(void **state) {
    (void)state;
    assert_string_equal(unit_stderr_of(text_of, NULL), "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE("each setting has the verdict of the table, and a wrong value one line on stderr", table),
        CASE("huge pages follow their setting and the decommit policy", the_rest),
        CASE("paths have 239 bytes at most", paths),
        CASE("a variable is found by its whole name", texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
