/* reports_forks.c: a fork or an exit while a thread is inside its report. */
#include "tests/reports/reports.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static void *commit_at_once(void *unused) {
    (void)unused;
    reports_error();
    return NULL;
}

/* Descriptor 2 takes nothing for now, so that a thread of the parent is inside its report while the child makes an
 * error of its own. */
static void fork_in_report(pid_t (*fork_it)(void)) {
    pthread_t thread;
    reports_use_heap();
    NEED(pthread_create(&thread, NULL, commit_at_once, NULL) == 0);
    usleep(
        200000); /* waits for a state that cannot be observed; if it were too short, the case would be an easier one */
    pid_t child = fork_it();
    if (child == 0) {
        int null = open("/dev/null", O_WRONLY);
        dup2(null, STDERR_FILENO);
        reports_free_foreign();
        _exit(SURVIVED);
    }
    NEED(child > 0);
    reports_say(reports_end_of(child) == -SIGABRT ? "child aborted\n" : "child did not\n");
    pause();
}
/* The process exits while one of its threads is about to report. */
static void exit_in_report(void) {
    pthread_t thread;
    reports_use_heap();
    NEED(pthread_create(&thread, NULL, commit_at_once, NULL) == 0);
    usleep(200000);
    exit(SURVIVED);
}
static pid_t fork_raw(void) {
    return (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}
static void fork_in_report_usual(void) {
    fork_in_report(fork);
}
static void fork_in_report_raw(void) {
    fork_in_report(fork_raw);
}

const reports_case reports_forks[] = {
    {"exit_in_report", exit_in_report},
    {"fork_in_report_usual", fork_in_report_usual},
    {"fork_in_report_raw", fork_in_report_raw},
    {NULL, NULL},
};
