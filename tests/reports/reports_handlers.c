/* reports_handlers.c: handlers of SIGABRT, and what the program does after they jumped away. */
#include "tests/reports/reports.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static sigjmp_buf back;
static pthread_t helper;
static volatile int wanted, done;

static void allocates(int number) {
    (void)number;
    reports_use_heap();
    reports_say("handler\n");
}
static void handler_allocates(void) {
    signal(SIGABRT, allocates);
    reports_error();
}

static void at_exit(void) {
    reports_use_heap();
    reports_say("atexit\n");
}
static void exits(int number) {
    (void)number;
    exit(3);
}
static void handler_exits(void) {
    atexit(at_exit);
    signal(SIGABRT, exits);
    reports_error();
}

static void *helps(void *unused) {
    (void)unused;
    while (!wanted)
        usleep(100);
    reports_use_heap();
    done = 1;
    return NULL;
}
static void asks_helper(int number) {
    (void)number;
    wanted = 1;
    pthread_join(helper, NULL);
    if (done)
        reports_say("helped\n");
}
static void handler_needs_a_thread(void) {
    NEED(pthread_create(&helper, NULL, helps, NULL) == 0);
    signal(SIGABRT, asks_helper);
    reports_error();
}

static void forks(int number) {
    (void)number;
    int status;
    pid_t child = fork();
    if (child == 0) {
        reports_use_heap();
        exit(5);
    }
    NEED(waitpid(child, &status, 0) == child);
    reports_say(WIFEXITED(status) && WEXITSTATUS(status) == 5 ? "child\n" : "no child\n");
}
static void handler_forks(void) {
    signal(SIGABRT, forks);
    reports_error();
}

static void errs_again(int number) {
    (void)number;
    reports_error();
    reports_free_foreign();
    reports_say("handler went on\n");
}
static void handler_errs(void) {
    signal(SIGABRT, errs_again);
    reports_error();
}

static void information(int number, siginfo_t *info, void *context) {
    if (number == SIGABRT && info->si_signo == SIGABRT && info->si_pid == getpid() && context != NULL)
        reports_say("information\n");
}
static void handler_has_information(void) {
    struct sigaction action = {.sa_sigaction = information,
                               .sa_flags = SA_SIGINFO | SA_NODEFER | SA_RESETHAND};
    sigaction(SIGABRT, &action, NULL);
    reports_error();
}

/* The jumps, and what the program does after them. */
static void jumps(int number) {
    siglongjmp(back, number);
}
static void jumps_again(int number) {
    signal(number, jumps_again);
    siglongjmp(back, number);
}
static void jump(void (*handler)(int), int saves, void (*then)(void)) {
    signal(SIGABRT, handler);
    if (sigsetjmp(back, saves) == 0)
        reports_error();
    then();
}
static void leave(void) {
    _exit(SURVIVED);
}
static void return_from_main(void) {
    exit(SURVIVED);
}
static __attribute__((noinline)) void deep(int more) {
    volatile char room[512];
    memset((char *)room, more, sizeof room);
    if (more > 0)
        deep(more - 1);
    else
        reports_use_heap();
    room[0] = room[1];
}
static void allocate(void) {
    reports_use_heap();
    leave();
}
static void allocate_deep(void) {
    deep(20);
    leave();
}
static void err_again(void) {
    reports_error = reports_free_foreign;
    reports_error();
    leave();
}
static void jump_with_signals(void) {
    jump(jumps, 1, leave);
}
static void jump_then_allocate(void) {
    jump(jumps, 0, allocate);
}
static void jump_then_allocate_deep(void) {
    jump(jumps, 0, allocate_deep);
}
static void jump_then_exit(void) {
    jump(jumps, 0, return_from_main);
}
static void jump_then_err(void) {
    jump(jumps, 0, err_again);
}
static void jump_again_then_allocate(void) {
    jump(jumps_again, 1, allocate);
}

static void ends_thread(int number) {
    (void)number;
    pthread_exit(NULL);
}
static void *commit(void *unused) {
    (void)unused;
    reports_use_heap();
    reports_error();
    return NULL;
}
static void handler_ends_thread(void) {
    pthread_t thread;
    signal(SIGABRT, ends_thread);
    NEED(pthread_create(&thread, NULL, commit, NULL) == 0);
    pthread_join(thread, NULL);
    leave();
}

static void ignored(void) {
    signal(SIGABRT, SIG_IGN);
    reports_error();
}
static void shut(void) {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    reports_error();
}
static void many_threads(void) {
    pthread_t thread[8];
    for (int i = 0; i < 8; i++)
        NEED(pthread_create(&thread[i], NULL, commit, NULL) == 0);
    for (int i = 0; i < 8; i++)
        pthread_join(thread[i], NULL);
}

/* A terminating signal is pending when the error is found: its handler runs, and the process ends nevertheless. */
static void pipe_handler(int number) {
    reports_say(number == SIGPIPE ? "SIGPIPE\n" : "other\n");
}
static void broken_pipe(void) {
    signal(SIGPIPE, pipe_handler);
    reports_error();
}

const reports_case reports_handlers[] = {
    {"handler_allocates", handler_allocates},
    {"handler_exits", handler_exits},
    {"handler_needs_a_thread", handler_needs_a_thread},
    {"handler_forks", handler_forks},
    {"handler_errs", handler_errs},
    {"handler_has_information", handler_has_information},
    {"handler_ends_thread", handler_ends_thread},
    {"jump_with_signals", jump_with_signals},
    {"jump_then_allocate", jump_then_allocate},
    {"jump_then_allocate_deep", jump_then_allocate_deep},
    {"jump_then_exit", jump_then_exit},
    {"jump_then_err", jump_then_err},
    {"jump_again_then_allocate", jump_again_then_allocate},
    {"ignored", ignored},
    {"shut", shut},
    {"many_threads", many_threads},
    {"broken_pipe", broken_pipe},
    {NULL, NULL},
};
