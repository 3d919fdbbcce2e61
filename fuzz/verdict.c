/* verdict.c: see verdict.h. */
#include "fuzz/verdict.h"

#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Without instrumentation: a fuzzer is not to explore this, and it differs the first time. */
#if defined(__clang__)
#pragma clang attribute push(__attribute__((no_sanitize("coverage"))), apply_to = function)
#endif

static sigjmp_buf back;
static int capture = -1, real_stderr;

static void jump_back(int number) {
    siglongjmp(back, number);
}

static void capture_begin(void) {
    if (capture < 0) {
        capture = memfd_create("verdict", MFD_CLOEXEC);
        real_stderr = dup(STDERR_FILENO);
    }
    if (capture < 0 || real_stderr < 0 || ftruncate(capture, 0) != 0 || lseek(capture, 0, SEEK_SET) != 0) {
        perror("verdict: cannot catch what is written to stderr");
        exit(1);
    }
    dup2(capture, STDERR_FILENO);
}

static void capture_end(verdict *out) {
    dup2(real_stderr, STDERR_FILENO);
    ssize_t got = pread(capture, out->text, sizeof out->text - 1, 0);
    out->text[got > 0 ? got : 0] = 0;
}

void verdict_of(void (*code)(void *context), void *context, verdict *out) {
    struct sigaction catcher = {.sa_handler = jump_back}, before;
    capture_begin();
    sigaction(SIGABRT, &catcher, &before);
    out->died = sigsetjmp(back, 1) != 0;
    if (!out->died)
        code(context);
    sigaction(SIGABRT, &before, NULL);
    capture_end(out);
}

bool verdict_error(const verdict *v, char *name, size_t room) {
    static const char prefix[] = "hakmem: ";
    if (strncmp(v->text, prefix, sizeof prefix - 1) != 0)
        return false;
    const char *start = v->text + sizeof prefix - 1;
    size_t length = strcspn(start, ":\n");
    snprintf(name, room, "%.*s", (int)length, start);
    return start[length] == ':';
}

#if defined(__clang__)
#pragma clang attribute pop
#endif
