/* reports.c: reports WHAT...: makes an error where it is hard to report one: before a cancellation, on a small
 * stack, under a handler that jumps away. A process that survives an error ends with status 77. reports_test.py has
 * the expected results. */
#include "tests/reports/reports.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A child that has the FIFO open, and says in the file when it contains anything after the parent's end. */
static void look_later(int fifo, int file) {
    pid_t parent = getpid(), child = fork();
    NEED(child >= 0);
    if (child != 0)
        return;
    while (getppid() == parent)
        usleep(1000);
    char byte;
    if (read(fifo, &byte, 1) > 0)
        NEED(write(file, "written\n", 8) == 8);
    _exit(0);
}

/* Puts another file in the place of the report's. */
static void obstacle(const char *kind) {
    char path[4096], other[4096];
    snprintf(path, sizeof path, "%s.%d", getenv("HAKMEM_REPORT_PATH"), getpid());
    snprintf(other, sizeof other, "%s.other", getenv("HAKMEM_REPORT_PATH"));
    int file = open(other, O_RDWR | O_CREAT, 0666);
    NEED(write(file, "precious\n", 9) == 9);
    if (strcmp(kind, "link") == 0)
        NEED(symlink(other, path) == 0);
    else if (strcmp(kind, "hard") == 0)
        NEED(link(other, path) == 0);
    else if (strcmp(kind, "folder") == 0)
        NEED(mkdir(path, 0777) == 0);
    else
        NEED(mkfifo(path, 0666) == 0);
    if (strcmp(kind, "read") == 0)
        look_later(open(path, O_RDWR | O_NONBLOCK), file);
    reports_error();
}

/* The set of flags that all users of the descriptor see. */
static void flags_stay(void) {
    int before = fcntl(STDERR_FILENO, F_GETFL);
    reports_error();
    reports_say(fcntl(STDERR_FILENO, F_GETFL) == before ? "flags stay\n" : "flags differ\n");
    exit(0);
}

static void keeps_errno(void) {
    for (int i = 0; i < 3; i++) {
        errno = 1234;
        reports_error();
        NEED(errno == 1234);
    }
    reports_say("errno stays\n");
    exit(0);
}

static const reports_case where[] = {
    {"flags_stay", flags_stay},
    {"keeps_errno", keeps_errno},
    {NULL, NULL},
};

/* reports ERROR CASE [ARGUMENT] */
int main(int count, char **arguments) {
    NEED(count >= 3);
    if (strcmp(arguments[1], "foreign") == 0)
        reports_error = reports_free_foreign;
    if (strcmp(arguments[1], "overflow") == 0)
        reports_error = reports_overflow;
    if (strcmp(arguments[2], "obstacle") == 0)
        obstacle(arguments[3]);
    if (strcmp(arguments[2], "small_stack") == 0)
        reports_small_stack(arguments[3]);
    if (strcmp(arguments[2], "error") == 0)
        reports_error();
    static const reports_case *const all[] = {reports_cancel, reports_handlers, reports_forks, reports_stacks,
                                              where};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        for (const reports_case *one = all[i]; one->name != NULL; one++)
            if (strcmp(one->name, arguments[2]) == 0)
                one->run();
    return SURVIVED;
}
