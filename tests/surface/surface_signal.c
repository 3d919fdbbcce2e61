/* surface_signal.c: a program that is sent SIGUSR2, for surface_signal_test.py. It announces each step in a line, and
 * goes on when it reads a line.
 *
 *   busy N      N threads in malloc and free; the main thread in a read, which the signal must not end
 *   rest        the main thread in a read, after one call of malloc
 *   masked      the signal is blocked; after a line it is unblocked
 *   own         the program has its own handler
 *   fork        the parent reads; its child raises the signal, then the child of a vfork does
 *   exec PATH   becomes PATH rest, with the signal blocked and pending
 *   small       raises it on an alternate stack of the least size; memory without access lies behind it
 *   raise N     raises it N times in each of two threads
 *   disturbed   raises it with an errno to keep, a handler of another signal that jumps away, threads that are
 *               cancelled */
#include "tests/surface/want.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static _Atomic int over;
static pthread_barrier_t begun;

static void say(const char *what) {
    printf("%s %d\n", what, (int)getpid());
    WANT(fflush(stdout) == 0);
}

/* Reads a line; no signal may end the read. */
static void hear(void) {
    char byte;
    WANT(read(STDIN_FILENO, &byte, 1) == 1 && byte == '\n');
}

static void *work(void *seed) {
    static _Thread_local void *objects[128];
    unsigned random = (unsigned)(size_t)seed;
    free(malloc(random));
    (void)pthread_barrier_wait(&begun); /* each has its own cache */
    while (!over) {
        random = random * 1664525 + 1013904223;
        void **at = &objects[random >> 8 & 127];
        free(*at);
        *at = malloc(random % 9 == 0 ? 400000 : random >> 20);
    }
    for (int i = 0; i < 128; i++)
        free(objects[i]);
    return NULL;
}

static void busy(int count) {
    pthread_t threads[16];
    WANT(count <= 16 && pthread_barrier_init(&begun, NULL, (unsigned)count + 1) == 0);
    for (int i = 0; i < count; i++)
        WANT(pthread_create(&threads[i], NULL, work, (void *)(size_t)(i + 1)) == 0);
    (void)pthread_barrier_wait(&begun);
    say("busy");
    hear();
    over = 1;
    for (int i = 0; i < count; i++)
        WANT(pthread_join(threads[i], NULL) == 0);
}

static void shut(int how) {
    sigset_t set;
    WANT(sigemptyset(&set) == 0 && sigaddset(&set, SIGUSR2) == 0 && pthread_sigmask(how, &set, NULL) == 0);
}

static volatile sig_atomic_t heard;
static void count(int number) {
    heard += number == SIGUSR2;
}

static void own(void) {
    struct sigaction action = {.sa_handler = count};
    WANT(sigaction(SIGUSR2, &action, NULL) == 0 && raise(SIGUSR2) == 0 && heard == 1);
}

static void wait_for(pid_t child) {
    int status;
    WANT(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void forks(void) {
    pid_t child = fork();
    if (child == 0) {
        say("child");
        _exit(raise(SIGUSR2) == 0 && raise(SIGUSR2) == 0 ? 0 : 1);
    }
    wait_for(child);
    child = vfork();
    if (child == 0)
        _exit(kill(getpid(), SIGUSR2) == 0 ? 0 : 1);
    wait_for(child);
    printf("vfork %d\n", (int)child);
    WANT(fflush(stdout) == 0 && raise(SIGUSR2) == 0);
}

/* The kernel's frame takes most of such a stack. */
static void small(void) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), size = (size_t)sysconf(_SC_MINSIGSTKSZ) + 2048;
    size_t whole = (size + page - 1) / page * page;
    char *memory = mmap(NULL, page + whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    WANT(memory != MAP_FAILED && mprotect(memory + page, whole, PROT_READ | PROT_WRITE) == 0);
    memset(memory + page, 0x5a, whole - size);
    stack_t stack = {.ss_sp = memory + page + whole - size, .ss_size = size};
    WANT(sigaltstack(&stack, NULL) == 0 && raise(SIGUSR2) == 0);
    for (size_t i = 0; i < whole - size; i++)
        WANT(memory[page + i] == 0x5a);
}

static void *raise_often(void *times) {
    for (int i = 0; i < *(int *)times; i++)
        WANT(raise(SIGUSR2) == 0);
    return NULL;
}

static void two_threads(int times) {
    pthread_t other;
    WANT(pthread_create(&other, NULL, raise_often, &times) == 0);
    (void)raise_often(&times);
    WANT(pthread_join(other, NULL) == 0);
}

/* Sends the signal to this thread, which gets it at once. */
static void send(void) {
    (void)syscall(SYS_tgkill, getpid(), gettid(), SIGUSR2);
}

static int open_files(void) {
    int count = 0;
    DIR *folder = opendir("/proc/self/fd");
    WANT(folder != NULL);
    while (readdir(folder) != NULL)
        count++;
    WANT(closedir(folder) == 0);
    return count;
}

static sigjmp_buf back;
static void jump(int number) {
    siglongjmp(back, number);
}

/* A thread that may be cancelled at any instruction. */
static void *cancelled(void *unused) {
    WANT(pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL) == 0);
    for (;;)
        send();
    return unused;
}

static void disturbed(void) {
    int before = open_files();
    errno = 77;
    WANT(raise(SIGUSR2) == 0 && errno == 77);
    struct sigaction action = {.sa_handler = jump};
    WANT(sigaction(SIGALRM, &action, NULL) == 0);
    for (int i = 0; i < 50; i++)
        if (sigsetjmp(back, 1) == 0) {
            (void)ualarm(500 + 40 * (unsigned)i, 0);
            for (;;)
                send();
        }
    for (int i = 0; i < 20; i++) {
        pthread_t other;
        WANT(pthread_create(&other, NULL, cancelled, NULL) == 0 && usleep(300) == 0);
        WANT(pthread_cancel(other) == 0 && pthread_join(other, NULL) == 0);
    }
    WANT(open_files() == before);
}

int main(int argc, char **argv) {
    WANT(argc > 1);
    const char *what = argv[1];
    free(malloc(1000));
    if (strcmp(what, "busy") == 0)
        busy(atoi(argv[2]));
    else if (strcmp(what, "rest") == 0) {
        say("rest");
        hear();
    } else if (strcmp(what, "masked") == 0) {
        shut(SIG_BLOCK);
        say("masked");
        hear();
        shut(SIG_UNBLOCK);
        say("open");
        hear();
    } else if (strcmp(what, "own") == 0)
        own();
    else if (strcmp(what, "fork") == 0)
        forks();
    else if (strcmp(what, "exec") == 0) {
        shut(SIG_BLOCK);
        WANT(raise(SIGUSR2) == 0);
        execl(argv[2], argv[2], "open", (char *)NULL);
        WANT(!"exec");
    } else if (strcmp(what, "open") == 0) {
        shut(SIG_UNBLOCK);
        say("open");
    } else if (strcmp(what, "small") == 0)
        small();
    else if (strcmp(what, "raise") == 0)
        two_threads(atoi(argv[2]));
    else
        disturbed();
    return 0;
}
