/* forks_exits.c: cases of forks.c: forks while the process ends. */
#include "tests/fork/forks.h"

#include <stdio.h>
#include <sys/prctl.h>

/* A fork after exit() has called all handlers of exit and ended all libraries, by libc's last step, which writes what
 * streams still hold. The library's handlers of fork are gone then, so nothing here takes its lock. */
static void allocate_sizes(void) {
    for (size_t i = 0; i < 40; i++) {
        void *volatile obj = malloc(i * i * i * 7);
        WANT(obj != NULL);
        free(obj);
    }
}
static void *allocate_until_stop(void *unused) {
    while (!atomic_load(&stop))
        allocate_sizes();
    return unused;
}
static ssize_t write_at_last(void *unused, const char *bytes, size_t size) {
    (void)unused;
    fork_often(allocate_sizes);
    atomic_store(&stop, true); /* the threads end with the process */
    return write(STDOUT_FILENO, bytes, size);
}
void exits(void) {
    FILE *stream = fopencookie(NULL, "w", (cookie_io_functions_t){.write = write_at_last});
    WANT(stream != NULL && fputs("done\n", stream) >= 0);
    for (int i = 0; i < THREADS; i++)
        (void)begin_thread(allocate_until_stop);
    exit(0);
}

/* The process exits while its threads fork: neither it nor a child waits for ever. */
static void *fork_until_exit(void *unused) {
    for (;;) {
        pid_t child = fork();
        if (child == 0) {
            alarm(SECONDS);
            allocate_sizes();
            _exit(0);
        }
        (void)waitpid(child, NULL,
                      0); /* this process ends at any time; main waits for the children that remain */
        allocate_sizes();
    }
    return unused;
}
void exits_meanwhile(void) {
    WANT(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0);
    for (int i = 0; i < FORKS; i++) {
        pid_t child = fork();
        WANT(child >= 0);
        if (child == 0) {
            alarm(SECONDS);
            for (int j = 0; j < THREADS; j++)
                (void)begin_thread(j == 0 ? allocate_until_stop : fork_until_exit);
            usleep(1000 * (useconds_t)i);
            exit(0);
        }
        int status, ended = 0;
        while (wait(&status) > 0) {
            WANT(status == 0);
            ended++;
        }
        WANT(ended > 0);
    }
}
