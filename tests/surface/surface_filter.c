/* surface_filter.c: a process that filters its own system calls, as OpenSSH's does before login, is not killed for a
 * call of the allocator, neither while it allocates nor when it exits, nor when it has bins of a sleeping thread
 * recalled. Its errors are still found. Nor is a process killed that cannot read in /proc that it began with a filter:
 * only a static program begins without opening a file. */
#include "tests/surface/want.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* All calls that malloc and free may make (allocator/os/os.h), and those that end the process, or send it a signal. */
static const int needed[] = {
    SYS_mmap,      SYS_munmap,     SYS_mremap, SYS_mprotect,     SYS_madvise,        SYS_futex,
    SYS_getrandom, SYS_getpid,     SYS_gettid, SYS_write,        SYS_rt_sigprocmask, SYS_clock_nanosleep,
    SYS_exit,      SYS_exit_group, SYS_tgkill, SYS_rt_sigreturn,
};
/* Rare calls that a filter need not allow when a process begins with it: systemd's @system-service does not allow
 * them. */
enum { SYS_MSEAL = 462 };
static const int rare[] = {SYS_mincore, SYS_MSEAL, SYS_membarrier, SYS_process_vm_readv};
enum {
    NEEDED = sizeof needed / sizeof needed[0],
    RARE = sizeof rare / sizeof rare[0],
    MOST = 4 + 2 * NEEDED
};

/* libseccomp announces a filter by prctl, and sets it by a call of its own. */
static bool as_libseccomp;

/* No file can be opened. */
static bool without_files;

/* From here on the `listed` calls get `verdict`, all others get `other`. */
static void filter_calls(const int *listed, int count, unsigned verdict, unsigned other) {
    struct sock_filter code[MOST];
    unsigned short used = 0;
    code[used++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (int i = 0; i < count; i++) {
        code[used++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)listed[i], 0, 1);
        code[used++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, verdict);
    }
    if (without_files) {
        code[used++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 1);
        code[used++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EACCES);
    }
    code[used++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, other);
    struct sock_fprog program = {used, code};
    WANT(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    if (as_libseccomp)
        WANT(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0);
    else
        WANT(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

static pthread_barrier_t slept;

/* Sleeps with objects in its bins. */
static void *sleeper(void *unused) {
    enum { OBJECTS = 200 };
    void *objects[OBJECTS];
    for (size_t i = 0; i < OBJECTS; i++)
        objects[i] = malloc(i * i);
    for (size_t i = 0; i < OBJECTS; i++)
        free(objects[i]);
    (void)pthread_barrier_wait(&slept);
    (void)pthread_barrier_wait(&slept); /* for ever */
    return unused;
}
static void begin_sleeper(void) {
    pthread_t thread;
    WANT(pthread_barrier_init(&slept, NULL, 2) == 0);
    WANT(pthread_create(&thread, NULL, sleeper, NULL) == 0);
    (void)pthread_barrier_wait(&slept);
}

/* Uses every class, large objects that move, and the first objects of call sites, which are sampled. The touched
 * memory fits in a cgroup of 256 MiB. */
static void work(void) {
    enum { TOUCHED = 50000 };
    static char *objects[2000];
    for (size_t i = 0; i < 2000; i++) {
        size_t size = i * i % 300000;
        objects[i] = malloc(size);
        WANT(objects[i] != NULL);
        memset(objects[i], 'x', size < TOUCHED ? size : TOUCHED);
    }
    char *one = calloc(10, 1 << 20), *two = strdup("text"), *three = aligned_alloc(4096, 8192),
         *four = malloc(1 << 20);
    WANT(one != NULL && two != NULL && three != NULL && four != NULL && one[5 << 20] == 0);
    one = realloc(one, 40 << 20);
    four = realloc(four, 100);
    WANT(one != NULL && four != NULL);
    free(one), free(two), free(three), free(four);
    for (size_t i = 0; i < 2000; i += 1 + i % 3)
        free(objects[i]);
    (void)malloc_trim(0);
}

static void overflow(void) {
    char *volatile obj = malloc(24);
    memset(obj, 'x', 25);
    free(obj);
}

static void work_filtered(void) {
    begin_sleeper();
    filter_calls(needed, NEEDED, SECCOMP_RET_ALLOW, SECCOMP_RET_KILL_PROCESS);
    work();
}
static void overflow_filtered(void) {
    filter_calls(needed, NEEDED, SECCOMP_RET_ALLOW, SECCOMP_RET_KILL_PROCESS);
    overflow();
}
static void work_in_another_program(void) {
    filter_calls(rare, RARE, SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_ALLOW);
    execl("/proc/self/exe", "surface_filter", "work", NULL);
}

/* Where settings ask for files: at a signal, and at exit, in a program that has announced its filter. */
static void work_with_outputs(void) {
    WANT(setenv("HAKMEM_HEAP_PROFILE", "/no/such/folder/profile", 1) == 0);
    WANT(setenv("HAKMEM_STATS_SIGNAL", "USR2", 1) == 0);
    execl("/proc/self/exe", "surface_filter", "outputs", NULL);
}
static void outputs(void) {
    work_filtered();
    WANT(raise(SIGUSR2) == 0);
}

/* A filter of which the allocator knows nothing allows what every sandbox allows. */
static void work_filtered_unannounced(void) {
    begin_sleeper();
    filter_calls(rare, RARE, SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_ALLOW);
    work();
}

/* The same with a filter that refuses nothing: a coverage build must write a file at exit. */
static void work_announced(void) {
    begin_sleeper();
    WANT(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    work();
}
static void overflow_announced(void) {
    WANT(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    overflow();
}
static void work_in_another_program_under_any_filter(void) {
    filter_calls(rare, RARE, SECCOMP_RET_ALLOW, SECCOMP_RET_ALLOW);
    execl("/proc/self/exe", "surface_filter", "work", NULL);
}
static void work_in_another_program_without_files(void) {
    without_files = true;
    work_in_another_program();
}

/* Returns the status of a child that does `what` and then exits, with all its exit handlers. */
static int status_after(void (*what)(void)) {
    pid_t child = fork();
    WANT(child >= 0);
    if (child == 0) {
        what();
        exit(0);
    }
    int status;
    WANT(waitpid(child, &status, 0) == child);
    return status;
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "work") == 0) {
        begin_sleeper();
        work();
        return 0;
    }
    if (argc == 2 && strcmp(argv[1], "outputs") == 0) {
        outputs();
        return 0;
    }
    if (getenv("HAKMEM_STATS") == NULL) { /* only a process that may open files writes statistics at exit */
        WANT(setenv("HAKMEM_STATS", "/no/such/folder/stats", 1) == 0);
        execv("/proc/self/exe", argv);
    }
    bool gently = argc == 2 && strcmp(argv[1], "gently") == 0,
         fixed = argc == 2 && strcmp(argv[1], "static") == 0;
    if (argc == 2 && strcmp(argv[1], "unannounced") == 0) {
        WANT(status_after(work_filtered_unannounced) == 0);
        puts("done");
        return 0;
    }
    bool hardened = strcmp(getenv("HAKMEM_TEST_VARIANT"), "hardened") == 0;
    for (int i = 0; i < 2; i++, as_libseccomp = true) {
        WANT(status_after(gently ? work_announced : work_filtered) == 0);
        WANT(status_after(gently ? work_in_another_program_under_any_filter : work_in_another_program) == 0);
        WANT(gently || status_after(work_with_outputs) == 0);
        WANT(!fixed || status_after(work_in_another_program_without_files) == 0);
        WANT(!hardened || WIFSIGNALED(status_after(gently ? overflow_announced : overflow_filtered)));
    }
    puts("done");
    return 0;
}
