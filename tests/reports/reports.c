/* reports.c: reports WHAT...: makes an error where it is hard to report one: before a cancellation, in a small
 * stack, under a handler that jumps away. Who survives an error ends by status 77. reports_test.py says what is
 * right. */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SURVIVED = 77, BROKEN = 78 };

#define NEED(cond)                                                                                           \
    do {                                                                                                     \
        if (!(cond)) {                                                                                       \
            dprintf(STDOUT_FILENO, "line %d: %s\n", __LINE__, #cond);                                        \
            _exit(BROKEN);                                                                                   \
        }                                                                                                    \
    } while (0)

static void say(const char *text) {
    NEED(write(STDOUT_FILENO, text, strlen(text)) == (ssize_t)strlen(text));
}

/* Errors. ------------------------------------------------------------------------------------------------ */

enum { OBJECTS = 4000, SIZE = 64 };

static void *objects[OBJECTS];

static void take_all(void) {
    for (int i = 0; i < OBJECTS; i++)
        objects[i] = malloc(SIZE);
}
static void give_all(void) {
    for (int i = 0; i < OBJECTS; i++)
        free(objects[i]);
}

/* Found at once, or when the object leaves the thread's cache, under the very lock of its depot. */
static void free_twice(void) {
    if (objects[0] == NULL)
        take_all();
    void *volatile twice = objects[5];
    free(twice);
    give_all();
    memset(objects, 0, sizeof objects);
}

static void free_foreign(void) {
    static char room[64];
    void *volatile foreign = room + 16;
    free(foreign);
}

/* Of one that stays, so that its damage does, too: large ones, or it would be found when a neighbour is freed. */
static void overflow(void) {
    enum { LARGE = 300001 };
    for (int i = 0; i < 2; i++) {
        char *object = malloc(LARGE);
        object[LARGE] ^= 1;
        if (i == 1)
            free(object);
    }
}

static void (*error)(void) = free_twice;

/* What somebody may want who looks after a crash: every size, and of that of the error more than a cache has. */
static void use_size(size_t size, int count) {
    static __thread void *some[OBJECTS];
    for (int i = 0; i < count; i++) {
        some[i] = malloc(size);
        NEED(some[i] != NULL);
        memset(some[i], 'x', size);
    }
    for (int i = 0; i < count; i++)
        free(some[i]);
}
static void use_heap(void) {
    static const size_t sizes[] = {0, 16, 500, 5000, 100000, 1 << 20};
    use_size(SIZE, OBJECTS);
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
        use_size(sizes[s], 40);
    void *grown = realloc(NULL, 10);
    for (size_t size = 20; size < 1 << 21; size *= 2)
        NEED((grown = realloc(grown, size)) != NULL);
    free(grown);
}

/* Cancellation. ------------------------------------------------------------------------------------------ */

static volatile int canceled, reached;

static void *commit_when_canceled(void *type) {
    int before;
    pthread_setcanceltype((int)(intptr_t)type, &before);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
    while (!canceled)
        usleep(100);
    if (type == (void *)PTHREAD_CANCEL_DEFERRED)
        pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &before);
    error();
    return NULL;
}

static void cancel(int type) {
    pthread_t thread;
    NEED(pthread_create(&thread, NULL, commit_when_canceled, (void *)(intptr_t)type) == 0);
    pthread_cancel(thread);
    canceled = 1;
    pthread_join(thread, NULL);
}
static void cancel_deferred(void) {
    cancel(PTHREAD_CANCEL_DEFERRED);
}

static void writes(int number) {
    (void)number;
    say("handler\n"); /* a cancellation point */
}
static void cancel_in_handler(void) {
    signal(SIGABRT, writes);
    cancel(PTHREAD_CANCEL_DEFERRED);
}

/* While the report waits for a pipe that takes nothing. */
static void *commit_cancelable(void *type) {
    int before;
    pthread_setcanceltype((int)(intptr_t)type, &before);
    reached = 1;
    error();
    return NULL;
}
static void cancel_in_report(int type) {
    pthread_t thread;
    use_heap();
    NEED(pthread_create(&thread, NULL, commit_cancelable, (void *)(intptr_t)type) == 0);
    while (!reached)
        usleep(100);
    usleep(200000); /* so that it is likely to be in the report; else the case is an easier one */
    pthread_cancel(thread);
    pthread_join(thread, NULL);
}
static void cancel_in_report_deferred(void) {
    cancel_in_report(PTHREAD_CANCEL_DEFERRED);
}
static void cancel_in_report_asynchronous(void) {
    cancel_in_report(PTHREAD_CANCEL_ASYNCHRONOUS);
}

/* All of malloc's functions, from a thread's first call on, with a cancellation pending. */
static void *call_everything(void *stream) {
    int before;
    pthread_cancel(pthread_self());
    use_heap();
    free(calloc(10, 100000));
    free(aligned_alloc(4096, 10000));
    free(aligned_alloc(1 << 20, 3 << 20));
    free(reallocarray(NULL, 3, 7));
    (void)malloc_usable_size(NULL);
    (void)malloc_trim(0);
    (void)mallinfo2();
    malloc_stats();
    (void)malloc_info(0, stream);
    if (getenv("HAKMEM_HARDENING") != NULL) /* report: goes on */
        free_twice();
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
    reached = 1;
    return NULL;
}
static void no_cancellation_point(void) {
    pthread_t thread;
    FILE *stream = fopen("/dev/null", "w");
    NEED(stream != NULL && setvbuf(stream, NULL, _IONBF, 0) == 0);
    NEED(pthread_create(&thread, NULL, call_everything, stream) == 0);
    pthread_join(thread, NULL);
    NEED(reached);
    say("all called\n");
    exit(0);
}

/* Handlers of SIGABRT. ----------------------------------------------------------------------------------- */

static sigjmp_buf back;
static pthread_t helper;
static volatile int wanted, done;

static void allocates(int number) {
    (void)number;
    use_heap();
    say("handler\n");
}
static void handler_allocates(void) {
    signal(SIGABRT, allocates);
    error();
}

static void at_exit(void) {
    use_heap();
    say("atexit\n");
}
static void exits(int number) {
    (void)number;
    exit(3);
}
static void handler_exits(void) {
    atexit(at_exit);
    signal(SIGABRT, exits);
    error();
}

static void *helps(void *unused) {
    (void)unused;
    while (!wanted)
        usleep(100);
    use_heap();
    done = 1;
    return NULL;
}
static void asks_helper(int number) {
    (void)number;
    wanted = 1;
    pthread_join(helper, NULL);
    if (done)
        say("helped\n");
}
static void handler_needs_a_thread(void) {
    NEED(pthread_create(&helper, NULL, helps, NULL) == 0);
    signal(SIGABRT, asks_helper);
    error();
}

static void forks(int number) {
    (void)number;
    int status;
    pid_t child = fork();
    if (child == 0) {
        use_heap();
        exit(5);
    }
    NEED(waitpid(child, &status, 0) == child);
    say(WIFEXITED(status) && WEXITSTATUS(status) == 5 ? "child\n" : "no child\n");
}
static void handler_forks(void) {
    signal(SIGABRT, forks);
    error();
}

static void errs_again(int number) {
    (void)number;
    error();
    free_foreign();
    say("handler went on\n");
}
static void handler_errs(void) {
    signal(SIGABRT, errs_again);
    error();
}

static void information(int number, siginfo_t *info, void *context) {
    if (number == SIGABRT && info->si_signo == SIGABRT && info->si_pid == getpid() && context != NULL)
        say("information\n");
}
static void handler_has_information(void) {
    struct sigaction action = {.sa_sigaction = information,
                               .sa_flags = SA_SIGINFO | SA_NODEFER | SA_RESETHAND};
    sigaction(SIGABRT, &action, NULL);
    error();
}

/* Jumps, and what the program does after them. */
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
        error();
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
        use_heap();
    room[0] = room[1];
}
static void allocate(void) {
    use_heap();
    leave();
}
static void allocate_deep(void) {
    deep(20);
    leave();
}
static void err_again(void) {
    error = free_foreign;
    error();
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
    use_heap();
    error();
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
    error();
}
static void shut(void) {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    error();
}
static void many_threads(void) {
    pthread_t thread[8];
    for (int i = 0; i < 8; i++)
        NEED(pthread_create(&thread[i], NULL, commit, NULL) == 0);
    for (int i = 0; i < 8; i++)
        pthread_join(thread[i], NULL);
}

/* A terminating signal that is pending when the error is found: the handler of it runs, and the process ends all the
 * same. */
static void pipe_handler(int number) {
    say(number == SIGPIPE ? "SIGPIPE\n" : "other\n");
}
static void broken_pipe(void) {
    signal(SIGPIPE, pipe_handler);
    error();
}

/* Forks. ------------------------------------------------------------------------------------------------- */

static int end_of(pid_t child) {
    int status;
    NEED(waitpid(child, &status, 0) == child);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static void *commit_at_once(void *unused) {
    (void)unused;
    error();
    return NULL;
}

/* Descriptor 2 takes nothing for now, so that a thread of the parent is in its report while the child commits a
 * error of its own. */
static void fork_in_report(pid_t (*fork_it)(void)) {
    pthread_t thread;
    use_heap();
    NEED(pthread_create(&thread, NULL, commit_at_once, NULL) == 0);
    usleep(
        200000); /* waits for what cannot be seen; were it too short, the child would have less to get wrong */
    pid_t child = fork_it();
    if (child == 0) {
        int null = open("/dev/null", O_WRONLY);
        dup2(null, STDERR_FILENO);
        free_foreign();
        _exit(SURVIVED);
    }
    NEED(child > 0);
    say(end_of(child) == -SIGABRT ? "child aborted\n" : "child did not\n");
    pause();
}
/* The process exits while one of its threads has a report to make. */
static void exit_in_report(void) {
    pthread_t thread;
    use_heap();
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

/* Where a report goes. ----------------------------------------------------------------------------------- */

/* Puts something else where the report's file belongs. */
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
        NEED(open(path, O_RDWR | O_NONBLOCK) >= 0);
    error();
}

/* The set of flags that all who share the descriptor see. */
static void flags_stay(void) {
    int before = fcntl(STDERR_FILENO, F_GETFL);
    error();
    say(fcntl(STDERR_FILENO, F_GETFL) == before ? "flags stay\n" : "flags differ\n");
    exit(0);
}

static void keeps_errno(void) {
    for (int i = 0; i < 3; i++) {
        errno = 1234;
        error();
        NEED(errno == 1234);
    }
    say("errno stays\n");
    exit(0);
}

/* Small stacks. ------------------------------------------------------------------------------------------ */

enum { LARGEST = 64 << 10, PAINT = 0xa5 };

static unsigned char *stack_end; /* one past its highest byte; a page that faults lies below the lowest */
static volatile uintptr_t *handler_at;

/* Not much of a frame: what the kernel has put on the stack ends about here. */
static void commits(int number) {
    (void)number;
    *handler_at = (uintptr_t)__builtin_frame_address(0);
    error();
    _exit(SURVIVED);
}

static void stack_make(size_t size) {
    unsigned char *low =
        mmap(NULL, LARGEST + 8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    NEED(low != MAP_FAILED);
    handler_at = (uintptr_t *)low;
    stack_end = low + 8192 + LARGEST;
    memset(low + 8192, PAINT, LARGEST);
    NEED(mprotect(low + 4096, 4096, PROT_NONE) == 0);
    stack_t stack = {.ss_sp = stack_end - size, .ss_size = size};
    NEED(sigaltstack(&stack, NULL) == 0);
}

/* How many bytes of the stack the report took below its handler's frame, in a child; and how the child ended. */
static void measure(int number, void (*handler)(int), void (*what)(void)) {
    stack_make(LARGEST);
    use_heap();
    take_all();
    pid_t child = fork();
    NEED(child >= 0);
    if (child == 0) {
        struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
        sigaction(number, &action, NULL);
        what();
        _exit(SURVIVED);
    }
    int end = end_of(child);
    unsigned char *at = stack_end - LARGEST;
    while (at < stack_end && *at == PAINT)
        at++;
    printf("end %d, bytes %zu, frame of the kernel %zu\n", end, (size_t)(*handler_at - (uintptr_t)at),
           (size_t)((uintptr_t)stack_end - *handler_at));
    exit(0);
}
static void raise_usr1(void) {
    raise(SIGUSR1);
}
static void stack_of_error(void) {
    measure(SIGUSR1, commits, raise_usr1);
}

static void notes(int number) {
    (void)number;
    *handler_at = (uintptr_t)__builtin_frame_address(0);
}
/* The hardened variant only: from its own handler on. The first signal tells where that begins. */
static void touch_guard(void) {
    char *volatile object = malloc(1 << 20);
    raise(SIGUSR1);
    object[-1] = 1;
}
static void stack_of_fault(void) {
    measure(SIGUSR1, notes, touch_guard);
}

/* On a stack with `room` bytes besides the kernel's frame, and no handler of SIGABRT that would need more of it. */
static void small_stack(const char *room) {
    stack_make(getauxval(AT_MINSIGSTKSZ) + (size_t)atoi(room));
    use_heap();
    take_all();
    struct sigaction action = {.sa_handler = commits, .sa_flags = SA_ONSTACK};
    sigaction(SIGUSR1, &action, NULL);
    action.sa_handler = writes;
    sigaction(SIGABRT, &action, NULL);
    raise(SIGUSR1);
}

static const struct {
    const char *name;
    void (*run)(void);
} cases[] = {
    {"cancel_deferred", cancel_deferred},
    {"cancel_in_handler", cancel_in_handler},
    {"cancel_in_report_deferred", cancel_in_report_deferred},
    {"cancel_in_report_asynchronous", cancel_in_report_asynchronous},
    {"exit_in_report", exit_in_report},
    {"no_cancellation_point", no_cancellation_point},
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
    {"fork_in_report_usual", fork_in_report_usual},
    {"fork_in_report_raw", fork_in_report_raw},
    {"flags_stay", flags_stay},
    {"keeps_errno", keeps_errno},
    {"stack_of_error", stack_of_error},
    {"stack_of_fault", stack_of_fault},
};

/* reports ERROR CASE [ARGUMENT] */
int main(int count, char **arguments) {
    NEED(count >= 3);
    if (strcmp(arguments[1], "foreign") == 0)
        error = free_foreign;
    if (strcmp(arguments[1], "overflow") == 0)
        error = overflow;
    if (strcmp(arguments[2], "obstacle") == 0)
        obstacle(arguments[3]);
    if (strcmp(arguments[2], "small_stack") == 0)
        small_stack(arguments[3]);
    if (strcmp(arguments[2], "error") == 0)
        error();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (strcmp(cases[i].name, arguments[2]) == 0)
            cases[i].run();
    return SURVIVED;
}
