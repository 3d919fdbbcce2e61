/* report_test.c: lines on stderr (report.h) and the end of the process (check.h). */
#include "tests/unit/unit.h"

#include "allocator/base/check.h"
#include "allocator/os/report.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static void mixed(void *unused) {
    (void)unused;
    hak_line line;
    hak_line_begin(&line);
    hak_line_text(&line, "n=");
    hak_line_number(&line, 0);
    hak_line_text(&line, ",");
    hak_line_number(&line, UINT64_MAX);
    hak_line_text(&line, ",");
    hak_line_hex(&line, 0xdeadbeef);
    hak_line_text(&line, ",");
    hak_line_hex(&line, 0);
    hak_line_end(&line);
}

static void numbers(void **state) {
    (void)state;
    assert_string_equal(unit_stderr_of(mixed, NULL), "hakmem: n=0,18446744073709551615,0xdeadbeef,0x0\n");
}

static void endless(void *unused) {
    (void)unused;
    hak_line line;
    hak_line_begin(&line);
    for (int i = 0; i < 1000; i++)
        hak_line_text(&line, "abcdefg");
    hak_line_hex(&line, UINTPTR_MAX);
    hak_line_end(&line);
}

static void cut_off(void **state) {
    (void)state;
    const char *text = unit_stderr_of(endless, NULL);
    assert_int_equal(strlen(text), HAK_LINE_MAX);
    assert_int_equal(text[HAK_LINE_MAX - 1], '\n');
    assert_memory_equal(text, "hakmem: abcdefgabc", 18);
}

static void without_stderr(void *unused) {
    (void)unused;
    close(STDERR_FILENO);
    errno = 1234;
    mixed(NULL);
    _exit(errno == 1234 ? 0 : 1);
}

static void errno_is_kept(void **state) {
    (void)state;
    assert_string_equal(unit_stderr_of(without_stderr, NULL), "");
}

static void die(void *unused) {
    (void)unused;
    hak_die("error", "what");
}
static void die_at(void *unused) {
    (void)unused;
    hak_die_at("double free", "free", 0x1230, "it is free already");
}
static void check(void *cond) {
    HAK_CHECK(cond != NULL, "no condition");
}

static void deaths(void **state) {
    (void)state;
    unit_expect_death(die, NULL, "hakmem: error: what\n");
    unit_expect_death(die_at, NULL, "hakmem: double free: free(0x1230): it is free already\n");
    unit_expect_death(check, NULL, "hakmem: corrupt metadata: no condition\n");
    int here;
    assert_string_equal(unit_stderr_of(check, &here), "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE("a line has its texts, numbers and addresses in order", numbers),
        CASE("a line that is too long is cut off and still ends", cut_off),
        CASE("a line that nobody can read keeps errno and the process", errno_is_kept),
        CASE("an error ends the process by abort after one line", deaths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
