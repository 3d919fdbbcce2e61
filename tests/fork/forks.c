/* forks.c CASE: what must hold when a process forks, whatever its other threads and its libraries do. It ends with
 * status 0 and prints "done". */
#include "tests/fork/forks.h"
#include "include/hakmem.h"

#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>

#pragma weak hak_stats_read

_Atomic bool stop;

pthread_t begin_thread(void *(*body)(void *)) {
    pthread_t thread;
    WANT(pthread_create(&thread, NULL, body, NULL) == 0);
    return thread;
}

unsigned caches(void) {
    hak_stats now;
    WANT(hak_stats_read != NULL);
    hak_stats_read(&now);
    return now.caches;
}

void fork_often(void (*in_child)(void)) {
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

void *work(void *unused) {
    while (!atomic_load(&stop)) {
        library_work();
        void *volatile obj = malloc(1000000);
        free(obj);
        sched_yield(); /* mutexes are not fair */
    }
    return unused;
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
