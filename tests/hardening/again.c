/* again.c: see again.h. */
#include "tests/hardening/again.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void set(const char *name, const char *value) {
    if (value != NULL)
        setenv(name, value, 1);
    else
        unsetenv(name);
}

static _Noreturn void begin(const char *what, const char *hardening, const char *rate, int to, int end) {
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    set("HAKMEM_HARDENING", hardening);
    set("HAKMEM_SAMPLE_RATE", rate);
    dup2(end, to);
    close(end);
    execl("/proc/self/exe", "again", what, NULL);
    _exit(126);
}

int again_said(const char *what, const char *hardening, const char *rate, int of_stderr, char *out,
               size_t room) {
    int ends[2], status = -1;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(ends[0]);
        begin(what, hardening, rate, of_stderr ? STDERR_FILENO : STDOUT_FILENO, ends[1]);
    }
    close(ends[1]);
    size_t length = 0;
    char more[512];
    for (ssize_t got; (got = read(ends[0], more, sizeof more)) > 0;)
        for (ssize_t i = 0; i < got && length + 1 < room; i++)
            out[length++] = more[i];
    out[length] = 0;
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

long again_number(const char *what, const char *hardening, const char *rate) {
    char text[64], *end;
    int status = again_said(what, hardening, rate, 0, text, sizeof text);
    if (status != 0)
        fail_msg("%s: wait status %#x", what, (unsigned)status);
    long number = strtol(text, &end, 10);
    assert_ptr_not_equal(end, text);
    return number;
}
