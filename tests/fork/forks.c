/* forks.c CASE: what must hold when a process forks, whatever its other threads and its libraries do. It ends with
 * status 0 and prints "done". */
#include "include/hakmem.h"
#include "tests/fork/forks_library.h"
#include "tests/surface/want.h"
#include "tests/unit/asleep.h"

#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FORKS = 30, THREADS = 3, SECONDS = 100 };

#pragma weak hak_stats_read
#pragma weak recorder_first
#pragma weak recorder_hook

static _Atomic bool stop;

static pthread_t begin_thread(void *(*body)(void *)) {
    pthread_t thread;
    WANT(pthread_create(&thread, NULL, body, NULL) == 0);
    return thread;
}

static unsigned caches(void) {
    hak_stats now;
    WANT(hak_stats_read != NULL);
    hak_stats_read(&now);
    return now.caches;
}

/* Forks many times; `in_child` runs in each child, which exits. */
static void fork_often(void (*in_child)(void)) {
    for (int i = 0; i < FORKS; i++) {
        pid_t child = fork();
        int status;
        WANT(child >= 0);
        if (child == 0) {
            alarm(SECONDS);
            in_child();
            _exit(0);
        }
        WANT(waitpid(child, &status, 0) == child && status == 0);
    }
}

static void *work(void *unused) {
    while (!atomic_load(&stop)) {
        library_work();
        void *volatile obj = malloc(1000000);
        free(obj);
        sched_yield(); /* mutexes are not fair */
    }
    return unused;
}

/* A child works, and may start threads. It has its own caches, and those of the parent's threads. */
static void child_works(void) {
    WANT(caches() == 1);
    library_work();
    atomic_store(&stop, true);
    pthread_join(begin_thread(work), NULL);
    library_work();
    WANT(caches() == 1);
}

/* Handlers that were registered before all others allocate, and take locks whose owners allocate. */
static void handlers(void) {
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        threads[i] = begin_thread(work);
    fork_often(child_works);
    WANT(library_before == FORKS && library_after == FORKS);
    atomic_store(&stop, true);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

/* A handler that itself forks: the inner child goes on, in the handler and after it. */
static bool nest;
static void fork_again(void) {
    int status;
    if (!nest)
        return;
    nest = false;
    pid_t child = fork();
    WANT(child >= 0 && (child == 0 || (waitpid(child, &status, 0) == child && status == 0)));
    library_work();
    if (child == 0)
        _exit(0);
    nest = true;
}
static void nested(void) {
    pthread_t works = begin_thread(work);
    WANT(pthread_atfork(fork_again, NULL, NULL) == 0);
    nest = true;
    fork_often(library_work);
    atomic_store(&stop, true);
    pthread_join(works, NULL);
}

static FILE *open_lines(void) {
    FILE *file = tmpfile();
    WANT(file != NULL);
    for (int i = 0; i < 50000; i++)
        fputc('x', file);
    fputc('\n', file);
    return file;
}

/* getline allocates while it holds the stream. */
static void *read_lines(void *unused) {
    FILE *file = open_lines();
    while (!atomic_load(&stop)) {
        char *line = NULL;
        size_t room = 0;
        rewind(file);
        WANT(getline(&line, &room, file) == 50001);
        free(line);
        usleep(100); /* a stream's lock is not fair */
    }
    fclose(file);
    return unused;
}

/* Each thread holds the list of streams and waits for every stream. */
static void *flush(void *unused) {
    while (!atomic_load(&stop)) {
        fflush(NULL);
        usleep(100); /* nor is the list's */
    }
    return unused;
}

static void *open_and_close(void *unused) {
    do {
        char *text = NULL;
        size_t size = 0;
        FILE *stream = open_memstream(&text, &size);
        WANT(stream != NULL && fputs("text", stream) >= 0 && fclose(stream) == 0 && size == 4);
        free(text);
    } while (unused == NULL && !atomic_load(&stop));
    return unused;
}

static void child_uses_streams(void) {
    open_and_close(&stop);
    fclose(open_lines());
}

static void streams(void) {
    pthread_t threads[] = {begin_thread(read_lines), begin_thread(read_lines), begin_thread(read_lines),
                           begin_thread(flush), begin_thread(open_and_close)};
    fork_often(child_uses_streams);
    atomic_store(&stop, true);
    for (size_t i = 0; i < sizeof threads / sizeof threads[0]; i++)
        pthread_join(threads[i], NULL);
}

/* Objects of all sizes with known bytes, so that an overlapping object would show. */
enum { OBJECTS = 60 };
static unsigned char *objects[OBJECTS];
static size_t sizes[OBJECTS];

static void replace(size_t i, uint64_t number) {
    for (size_t at = 0; at < sizes[i]; at += 1 + sizes[i] / 8)
        WANT(objects[i][at] == i % 256);
    free(objects[i]);
    sizes[i] = 1 + (number % 16 == 0 ? number % 900000 : number % 3000);
    objects[i] = malloc(sizes[i]);
    WANT(objects[i] != NULL);
    memset(objects[i], (int)(i % 256), sizes[i]);
}

static void replace_all(uint64_t *number) {
    for (size_t i = 0; i < OBJECTS; i++) {
        *number = *number * 6364136223846793005u + 1442695040888963407u;
        replace(i, *number >> 33);
    }
}

static volatile sig_atomic_t forked, children, failed;

/* Every other child ends here; the rest finish the call that the signal interrupted. */
static void fork_here(int number) {
    (void)number;
    pid_t child = fork();
    if (child < 0)
        failed = true;
    if (child == 0 && forked % 2 == 0)
        _exit(0);
    if (child == 0)
        children = -1;
    else {
        forked++;
        children++;
    }
}

static void interrupted(void) {
    struct sigaction action = {.sa_handler = fork_here, .sa_flags = SA_RESTART};
    uint64_t number = 1;
    WANT(sigaction(SIGALRM, &action, NULL) == 0);
    while (forked < 4 * FORKS) {
        int status;
        struct itimerval once = {{0, 0}, {0, 20 + (number >> 33) % 1000}};
        int before = forked;
        WANT(setitimer(ITIMER_REAL, &once, NULL) == 0);
        while (before == forked && children >= 0)
            replace_all(&number);
        if (children < 0) {
            replace_all(&number);
            _exit(0);
        }
        for (; children > 0; children--)
            WANT(wait(&status) > 0 && status == 0);
    }
    WANT(!failed);
}

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
static void exits(void) {
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
static void exits_meanwhile(void) {
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

/* The child of vfork uses this thread's cache for a while. */
static void vforks(void) {
    pthread_t works = begin_thread(work);
    for (int i = 0; i < FORKS; i++) {
        int status;
        pid_t child = vfork();
        if (child == 0) {
            library_work();
            _exit(0);
        }
        library_work();
        WANT(child > 0 && waitpid(child, &status, 0) == child && status == 0);
    }
    atomic_store(&stop, true);
    pthread_join(works, NULL);
}

/* In no round have the library's threads and ours left anything behind, nor the threads whose first call comes from
 * a destructor. */
static pthread_key_t keys[2];
static _Thread_local unsigned rounds;
static _Atomic unsigned with_cache, last_rounds;
static void again(void *value) {
    unsigned before = caches();
    library_work();
    rounds++;
    with_cache += rounds < 4 && before == 2; /* the main thread's and this one's */
    last_rounds += rounds == 4;
    pthread_setspecific(keys[0], value);
}
static void *has_destructors(void *allocates) {
    pthread_setspecific(keys[0], keys);
    if (allocates != NULL)
        library_work();
    return NULL;
}
static void threads_end(void) {
    WANT(caches() == 1);
    WANT(pthread_key_create(&keys[0], again) == 0);
    for (int i = 0; i < 20; i++) {
        pthread_t thread;
        WANT(pthread_create(&thread, NULL, has_destructors, keys) == 0 && pthread_join(thread, NULL) == 0);
    }
    WANT(last_rounds == 20 && with_cache == 3 * 20);
    WANT(caches() == 1);
}

/* A thread of the parent is inside a report for ever; errors of the child are found nevertheless. */
static void reported(int number) {
    (void)number;
    atomic_store(&stop, true);
    for (;;)
        pause();
}
static void *free_twice(void *unused) {
    void *volatile obj = malloc(56);
    free(obj);
    free(obj);
    return unused;
}
static void reports(void) {
    int status;
    signal(SIGABRT, reported);
    (void)begin_thread(free_twice);
    while (!atomic_load(&stop))
        usleep(1000);
    pid_t child = fork();
    WANT(child >= 0);
    if (child == 0) {
        alarm(SECONDS);
        signal(SIGABRT, SIG_DFL);
        (void)free_twice(NULL);
        _exit(0);
    }
    WANT(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

/* The allocator's handlers are the first that libc has, whichever constructor ran first. A thread that registers
 * handlers allocates, and a fork waits for it: the hook goes on once the fork waits, or is over. */
static _Atomic bool registering, forking, fork_over, overtaken;
static pid_t forker;

static void register_slowly(void) {
    recorder_hook = NULL;
    atomic_store(&registering, true);
    while (!atomic_load(&forking) || !(atomic_load(&fork_over) || thread_is_asleep(forker)))
        usleep(100);
    atomic_store(&overtaken, atomic_load(&fork_over));
    void *volatile obj = malloc(1000000);
    free(obj);
    atomic_store(&registering, false);
}
static void *registers_one(void *unused) {
    WANT(pthread_atfork(NULL, NULL, NULL) == 0);
    return unused;
}
static void registrations(void) {
    Dl_info first, ours;
    WANT(recorder_first != NULL && dladdr(recorder_first, &first) != 0);
    WANT(dladdr(dlsym(RTLD_DEFAULT, "malloc"), &ours) != 0 && first.dli_fbase == ours.dli_fbase);
    int status;
    forker = (pid_t)syscall(SYS_gettid);
    recorder_hook = register_slowly;
    pthread_t thread = begin_thread(registers_one);
    while (!atomic_load(&registering))
        usleep(100);
    atomic_store(&forking, true);
    pid_t child = fork();
    atomic_store(&fork_over, true);
    if (child == 0) {
        alarm(SECONDS);
        library_work();
        WANT(pthread_atfork(NULL, NULL, NULL) == 0);
        _exit(0);
    }
    pthread_join(thread, NULL);
    WANT(child > 0 && waitpid(child, &status, 0) == child && status == 0);
    WANT(!overtaken);
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*run)(void);
    } cases[] = {{"handlers", handlers},
                 {"nested", nested},
                 {"streams", streams},
                 {"interrupted", interrupted},
                 {"vforks", vforks},
                 {"threads", threads_end},
                 {"reports", reports},
                 {"exits", exits},
                 {"exits_meanwhile", exits_meanwhile},
                 {"registrations", registrations}};
    for (size_t i = 0; argc == 2 && i < sizeof cases / sizeof cases[0]; i++)
        if (strcmp(argv[1], cases[i].name) == 0) {
            if (cases[i].run != interrupted)
                alarm(SECONDS); /* ends a child that waits for ever */
            cases[i].run();
            puts("done");
            fflush(stdout);
            _exit(0);
        }
    puts("no such case");
    return 2;
}
