/* unit.c: see unit.h. */
#include "tests/unit/unit.h"

#include "allocator/os/extent.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static char text[4096];

int unit_fresh(void **state) {
    (void)state;
    hak_test_reset(HAK_RESET_FRESH);
    return 0;
}

void unit_skip_where_reserved(void) {
    uintptr_t place = hak_extent_claim(HAK_MIB, HAK_MIB);
    if (place == 0)
        skip();
    hak_extent_unclaim(place);
}

/* Runs body in a child and collects what it writes to stderr in `text`; returns the wait status. */
static int run(void (*body)(void *arg), void *arg) {
    int ends[2], status;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        signal(SIGABRT, SIG_DFL);
        dup2(ends[1], STDERR_FILENO);
        body(arg);
        _exit(0);
    }
    close(ends[1]);
    size_t used = 0;
    for (ssize_t n; used < sizeof text - 1 && (n = read(ends[0], text + used, sizeof text - 1 - used)) > 0;)
        used += (size_t)n;
    text[used] = 0;
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

void unit_expect_death(void (*body)(void *arg), void *arg, const char *message) {
    int status = run(body, arg);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT || strstr(text, message) == NULL)
        fail_msg("want an abort with \"%s\", got status %#x and \"%s\"", message, status, text);
}

const char *unit_stderr_of(void (*body)(void *arg), void *arg) {
    int status = run(body, arg);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    return text;
}

uint64_t unit_random(uint64_t *seed) {
    uint64_t z = *seed += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

size_t unit_address_space(void) {
    char text[64] = {0};
    int file = open("/proc/self/statm", O_RDONLY);
    ssize_t got = read(file, text, sizeof text - 1);
    close(file);
    return got > 0 ? strtoul(text, NULL, 10) * hak_os_page : 0;
}
