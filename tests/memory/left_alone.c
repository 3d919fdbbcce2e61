/* left_alone.c: with HAKMEM_SS_BACKGROUND=1 a process that makes no calls gives idle memory back, and so does its
 * child. Without the option the only threads are the program's own. */
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { KIB = 1024, MIB = 1024 * KIB, SMALL = 100000, LARGE = 200, LEFT = 64 * MIB, TRIES = 900, BROKEN = 78 };

#define NEED(cond)                                                                                           \
    do {                                                                                                     \
        if (!(cond)) {                                                                                       \
            dprintf(STDERR_FILENO, "line %d: %s\n", __LINE__, #cond);                                        \
            _exit(BROKEN);                                                                                   \
        }                                                                                                    \
    } while (0)

/* More than the library's thread needs for itself: its stack must have room for this much. */
static _Thread_local char own[300 * KIB];

/* The value of a line of a status file, from the blank on. It allocates nothing. */
static const char *status_of(const char *path, const char *name) {
    static char text[8192];
    int file = open(path, O_RDONLY);
    ssize_t got = file < 0 ? -1 : read(file, text, sizeof text - 1);
    NEED(got > 0);
    close(file);
    text[got] = 0;
    const char *found = strstr(text, name);
    NEED(found != NULL);
    return found + strlen(name);
}
static size_t resident(void) {
    return strtoul(status_of("/proc/self/status", "RssAnon:"), NULL, 10) * KIB;
}
static long threads(void) {
    return strtol(status_of("/proc/self/status", "Threads:"), NULL, 10);
}

/* Signals that may reach the library's thread: KILL and STOP, libc's own two, and those that its own instructions
 * can raise (ILL, TRAP, BUS, FPE, SEGV, SYS). */
static const char FREE[] = {9, 19, 32, 33, 4, 5, 7, 8, 11, 31, 0};

/* libc's own two must reach it: setuid waits until every thread has had its signal. */
static const char OPEN[] = {32, 33, 0};

/* The number of threads with the name of the library's thread. Each has all other signals blocked. The thread takes
 * its name when it begins to run. */
static int look_at_threads(void) {
    DIR *tasks = opendir("/proc/self/task");
    NEED(tasks != NULL);
    int found = 0;
    for (struct dirent *entry; (entry = readdir(tasks)) != NULL;) {
        char path[300];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "/proc/self/task/%s/status", entry->d_name);
        if (strncmp(status_of(path, "Name:\t"), "hakmem-idle\n", 12) != 0)
            continue;
        found++;
        unsigned long blocked = strtoul(status_of(path, "SigBlk:\t"), NULL, 16);
        for (int number = 1; number <= 64; number++) {
            NEED(strchr(FREE, number) != NULL || (blocked >> (number - 1) & 1));
            NEED(strchr(OPEN, number) == NULL || (blocked >> (number - 1) & 1) == 0);
        }
    }
    closedir(tasks);
    return found;
}
static void look_at_thread(void) {
    int found = 0;
    for (int tries = 0; (found = look_at_threads()) == 0 && tries < TRIES; tries++)
        usleep(100000);
    NEED(found == 1);
}

static void burst(void) {
    static char *small[SMALL], *large[LARGE];
    for (int i = 0; i < SMALL; i++) {
        small[i] = malloc(1000);
        NEED(small[i] != NULL);
        memset(small[i], 1, 1000);
    }
    for (int i = 0; i < LARGE; i++) {
        large[i] = malloc(MIB);
        NEED(large[i] != NULL);
        memset(large[i], 1, MIB);
    }
    for (int i = 0; i < SMALL; i++)
        free(small[i]);
    for (int i = 0; i < LARGE; i++)
        free(large[i]);
}

/* The thread's own cache, the quarantine and the policy keep less than LEFT in all; the burst was five times that. */
static void quiet(size_t before) {
    int tries = 0;
    while (resident() > before + LEFT && tries < TRIES) {
        usleep(100000);
        tries++;
    }
    NEED(tries < TRIES);
}

enum { STACK = 256 * KIB, SECONDS = 60 };

static int bursts(void *unused) {
    (void)unused;
    burst();
    return 0;
}

/* A child that shares its parent's memory while the parent waits, as after vfork. The child has none of the
 * library's threads, and ends. Its parent still has its own afterwards. */
static void in_shared_memory(void) {
    static char stack[STACK];
    NEED(threads() == 1);
    pid_t child = clone(bursts, stack + STACK, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);
    int status;
    NEED(child > 0 && waitpid(child, &status, 0) == child && status == 0);
    NEED(threads() == 1);
}

/* Announces a filter of system calls, which may forbid the creation of threads. */
static void filtered(void) {
    NEED(prctl(PR_SET_NO_NEW_PRIVS, 1UL, 0UL, 0UL, 0UL) == 0);
    burst();
    NEED(threads() == 1);
}

static void child_of(void (*what)(void)) {
    pid_t child = fork();
    NEED(child >= 0);
    if (child == 0) {
        alarm(SECONDS);
        what();
        _exit(0);
    }
    int status;
    NEED(waitpid(child, &status, 0) == child && status == 0);
}

static size_t before;

static void child_with_it(void) {
    NEED(threads() == 1);
    in_shared_memory();
    int tries = 0;
    for (burst(); threads() == 1 && tries < TRIES; burst(), tries++)
        usleep(100000); /* the other process's calls also look for idle memory */
    NEED(threads() == 2);
    look_at_thread();
    NEED(setgid(getgid()) == 0 && setuid(getuid()) == 0);
    alarm(0);
    quiet(before);
}

static void with_it(void) {
    *(volatile char *)&own[sizeof own - 1] = 1;
    before = resident();
    burst();
    NEED(threads() == 2);
    look_at_thread();
    NEED(setgid(getgid()) == 0 && setuid(getuid()) == 0);
    quiet(before);
    child_of(child_with_it);
    child_of(filtered);
}

static void without(void) {
    burst();
    usleep(300000);
    burst();
    NEED(threads() == 1);
}

static void in_a_process(const char *program, const char *setting) {
    pid_t child = fork();
    if (child == 0) {
        if (setting != NULL)
            setenv("HAKMEM_SS_BACKGROUND", setting, 1);
        execl(program, program, setting != NULL && *setting == '1' ? "with" : "without", NULL);
        _exit(BROKEN);
    }
    int status;
    NEED(child >= 0 && waitpid(child, &status, 0) == child && status == 0);
}

int main(int argc, char **argv) {
    if (argc == 1) {
        in_a_process(argv[0], "1");
        in_a_process(argv[0], "0");
        in_a_process(argv[0], NULL);
    } else if (strcmp(argv[1], "with") == 0)
        with_it();
    else
        without();
    return 0;
}
