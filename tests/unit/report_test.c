/* report_test.c: lines on stderr (report.h) and the end of the process (check.h). */
#include "tests/unit/calls.h"
#include "tests/unit/unit.h"

#include "allocator/base/check.h"
#include "allocator/os/outlet.h"
#include "allocator/os/report.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
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

/* More than one write takes, and more than a pipe has room for. */
static char long_text[150001];
static void send_long(size_t size) {
    hak_outlet to;
    hak_outlet_stderr(&to);
    hak_outlet_send(&to, long_text, size);
    hak_outlet_close(&to);
}

static void all_of_a_long_text(void **state) {
    (void)state;
    static char got[sizeof long_text];
    for (size_t i = 0; i < sizeof long_text; i++)
        long_text[i] = (char)('!' + i * i / 7 % 90);
    for (size_t size = 1; size < sizeof long_text; size = size * 7 + 3) {
        int ends[2], status;
        size_t used = 0;
        assert_int_equal(pipe(ends), 0);
        pid_t child = fork();
        if (child == 0) {
            dup2(ends[1], STDERR_FILENO);
            send_long(size);
            _exit(0);
        }
        close(ends[1]);
        for (ssize_t n; (n = read(ends[0], got + used, sizeof got - used)) > 0;)
            used += (size_t)n;
        close(ends[0]);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
        assert_int_equal(used, size);
        assert_memory_equal(got, long_text, size);
    }
}

/* A write that a signal has interrupted. */
static unsigned interruptions;
static bool interrupts(long number, const long args[6], long *answer) {
    if (number != SYS_write || args[1] < (long)long_text || args[1] >= (long)(long_text + sizeof long_text) ||
        interruptions == 0)
        return false;
    interruptions--;
    errno = EINTR;
    *answer = -1;
    return true;
}
static void interrupted(void *unused) {
    (void)unused;
    interruptions = 3;
    atomic_store(&calls_seen_by, interrupts);
    send_long(100);
    _exit(interruptions == 0 ? 0 : 1);
}
static void goes_on_when_interrupted(void **state) {
    (void)state;
    memset(long_text, 'x', 100);
    assert_int_equal(strlen(unit_stderr_of(interrupted, NULL)), 100);
}

/* How long each report is ready to wait for a full pipe, as the kernel is told; nobody waits here. */
static long waits[2];
static unsigned reports;
static bool no_room(long number, const long args[6], long *answer) {
    if (number != SYS_ppoll)
        return false;
    const struct timespec *time = (const struct timespec *)args[2];
    waits[reports++] = time->tv_sec * 1000 + time->tv_nsec / 1000000;
    *answer = 0;
    return true;
}
static void nobody_makes_room(void *unused) {
    (void)unused;
    atomic_store(&calls_seen_by, no_room);
    send_long(100);
    send_long(100);
    atomic_store(&calls_seen_by, NULL);
    hak_line line; /* the pipe has room now */
    hak_line_begin(&line);
    hak_line_number(&line, (uint64_t)waits[0]);
    hak_line_text(&line, " ");
    hak_line_number(&line, (uint64_t)waits[1]);
    hak_line_end(&line);
}
static void waits_once(void **state) {
    (void)state;
    long first, second;
    assert_int_equal(sscanf(unit_stderr_of(nobody_makes_room, NULL), "hakmem: %ld %ld", &first, &second), 2);
    assert_in_range(first, 1, 1000);
    assert_int_equal(second, 0);
}

static void nobody_reads(void *unused) {
    (void)unused;
    int ends[2];
    if (pipe(ends) != 0 || close(ends[0]) != 0 || dup2(ends[1], STDERR_FILENO) < 0)
        _exit(1);
    signal(SIGPIPE, SIG_DFL);
    send_long(1000); /* which raises SIGPIPE: the allocator caused that, not the program */
    sigset_t pending;
    if (sigpending(&pending) != 0 || sigismember(&pending, SIGPIPE))
        _exit(2);
}

static void pipe_without_reader(void **state) {
    (void)state;
    assert_string_equal(unit_stderr_of(nobody_reads, NULL), "");
}

/* Whose files are ours; in the place of libc's. */
static bool as_somebody_else;
uid_t geteuid(void) {
    return (uid_t)syscall(SYS_geteuid) + as_somebody_else;
}

/* Somebody may have made a file of that name, to read what is written to it. */
static void not_in_a_file_of_others(void **state) {
    (void)state;
    char folder[] = "/tmp/report_test.XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/file", folder);
    for (int ours = 1; ours >= 0; ours--) {
        hak_outlet to;
        as_somebody_else = !ours;
        hak_outlet_create(&to, path);
        hak_outlet_send(&to, "text", 4);
        hak_outlet_close(&to);
        as_somebody_else = false;
    }
    struct stat seen;
    assert_int_equal(stat(path, &seen), 0);
    assert_int_equal(seen.st_size, 4);
    (void)unlink(path);
    (void)rmdir(folder);
}

static void all_of_it_in_a_file(void **state) {
    (void)state;
    static char got[sizeof long_text];
    char folder[] = "/tmp/report_test.XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/file", folder);
    for (int times = 1; times <= 2; times++) { /* the second goes behind the first */
        hak_outlet to;
        hak_outlet_create(&to, path);
        hak_outlet_send(&to, long_text, 5000);
        hak_outlet_close(&to);
        int file = open(path, O_RDONLY);
        assert_int_equal(read(file, got, sizeof got), times * 5000);
        close(file);
        assert_memory_equal(got + (times - 1) * 5000, long_text, 5000);
    }
    struct stat seen;
    assert_int_equal(stat(path, &seen), 0);
    assert_int_equal(seen.st_mode & 0777, 0600);
    (void)unlink(path);
    (void)rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE("a line has its texts, numbers and addresses in order", numbers),
        CASE("a line that is too long is cut off and still ends", cut_off),
        CASE("a line that nobody can read keeps errno and the process", errno_is_kept),
        CASE("a long text arrives whole, also where a pipe has less room", all_of_a_long_text),
        CASE("also where signals interrupt", goes_on_when_interrupted),
        CASE("a full pipe is waited for once, for a second", waits_once),
        CASE("a pipe without a reader leaves no signal behind", pipe_without_reader),
        CASE("and in a file, which is for its owner only", all_of_it_in_a_file),
        CASE("and in no file that belongs to others", not_in_a_file_of_others),
        CASE("an error ends the process by abort after one line", deaths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
