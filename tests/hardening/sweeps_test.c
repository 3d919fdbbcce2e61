/* sweeps_test.c: sweeps of everything, as at exit, and reports that go on, while threads work. Many objects are
 * sampled. --config=tsan finds races; a sweep that finds an error ends the test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hardening/modes.h"
#include "hardening/sweep.h"
#include "include/hakmem.h"
#include "tests/stress/crowd.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CASE(text, function) {text, function, NULL, NULL, NULL}

enum { THREADS = 4, SWEEPS = 30, ERRORS = 40, PAUSE_US = 1000 };

static void sweeps(void **state) {
    (void)state;
    crowd_start(THREADS);
    for (int i = 0; i < SWEEPS; i++) {
        hak_sweep_all();
        usleep(PAUSE_US);
    }
    crowd_stop();
    hak_sweep_all();
}

/* Each thread's own errors: a double free, a write past the end, an end by the wrong function. */
static void *culprit(void *unused) {
    for (int i = 0; i < ERRORS; i++) {
        char *obj = hak_malloc(24 + (size_t)i);
        if (i % 4 == 0)
            ((volatile char *)obj)[24 + i] ^= 1;
        if (i % 4 == 1)
            hak_free_sized(obj, 1);
        else
            hak_free(obj);
        if (i % 4 == 2)
            hak_free(obj);
    }
    return unused;
}

static int make_errors(void) {
    pthread_t threads[THREADS];
    crowd_start(2);
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, culprit, NULL) != 0)
            return 1;
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    crowd_stop();
    return 0;
}

/* Stores the output of a process of its own, cut at the room; returns its status. */
static int said_by_culprits(char *text, size_t room) {
    int ends[2], status = -1;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        setenv("HAKMEM_HARDENING", "all:report", 1);
        setenv("HAKMEM_SAMPLE_RATE", "0",
               1); /* past the end of a sampled object an access faults in any mode */
        dup2(ends[1], 2);
        close(ends[0]);
        close(ends[1]);
        execl("/proc/self/exe", "/proc/self/exe", "errors", NULL);
        _exit(126);
    }
    close(ends[1]);
    char more[4096];
    size_t length = 0;
    for (ssize_t got; (got = read(ends[0], more, sizeof more)) > 0;)
        for (ssize_t i = 0; i < got && length + 1 < room; i++)
            text[length++] = more[i];
    text[length] = 0;
    close(ends[0]);
    return waitpid(child, &status, 0) == child ? status : -1;
}

static void reports(void **state) {
    (void)state;
    static char text[1 << 20];
    int status = said_by_culprits(text, sizeof text);
    assert_non_null(strstr(text, "hakmem: double free"));
    assert_non_null(strstr(text, "hakmem: size mismatch"));
    assert_null(strstr(text, "WARNING: ThreadSanitizer"));
    assert_int_equal(status, 0);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        CASE("sweeps of everything while threads work find nothing", sweeps),
        CASE("reports of several threads that go on disturb nobody", reports),
    };
    if (argc == 2)
        return make_errors();
    if (getenv("HAKMEM_SAMPLE_RATE") == NULL && setenv("HAKMEM_SAMPLE_RATE", "30", 1) == 0)
        execv("/proc/self/exe", argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
