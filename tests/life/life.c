/* life.c: correct programs that end, or fork, while their threads are in the middle of something. `life NAME` runs
 * one of them, many times over in processes of its own. It ends with 0 when each of those ended well and printed
 * nothing. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { SLOTS = 64, SLOTS_OF_SMALL = 2000, PAGE = 4096, SMALL = -1 };

static uint32_t next_of(uint32_t *seed) {
    return *seed = *seed * 1664525 + 1013904223;
}

/* From 16 bytes to 4 MiB, small ones as often as large ones. One size alone meets every moment of its life soonest. */
static size_t size_of(uint32_t *seed, int same) {
    if (same == SMALL)
        return 16 + next_of(seed) / 65536 % 3000;
    if (same != 0)
        return (size_t)same;
    unsigned shift = 4 + next_of(seed) / 65536 % 19;
    return ((size_t)1 << shift) + next_of(seed) / 65536 % ((size_t)1 << (shift - 1));
}

static int same_size; /* 0: mixed; or SMALL */

/* Makes, fills, resizes and ends objects for ever. */
static void *works(void *seed_of) {
    uint32_t seed = (uint32_t)(uintptr_t)seed_of * 7919 + 1;
    static _Thread_local char *objs[SLOTS_OF_SMALL];
    int slots = same_size == 0 ? SLOTS : same_size == SMALL ? SLOTS_OF_SMALL : 1;
    for (;;) {
        char **obj = &objs[next_of(&seed) / 65536 % (unsigned)slots];
        size_t size = size_of(&seed, same_size);
        if (*obj != NULL && size < 40000 && next_of(&seed) >> 30 == 0) {
            char *again = realloc(*obj, size);
            if (again == NULL)
                abort();
            *obj = again;
        } else {
            free(*obj);
            *obj = malloc(size);
        }
        if (*obj == NULL)
            abort();
        memset(*obj, 0xff, size < 200000 ? size : PAGE);
    }
    return NULL;
}

static void start(int threads) {
    for (int i = 0; i < threads; i++) {
        pthread_t thread;
        pthread_attr_t attr;
        pthread_attr_init(&attr);
        pthread_attr_setstacksize(&attr, 256 << 10);
        if (pthread_create(&thread, &attr, works, (void *)(uintptr_t)(i + 1)) != 0)
            abort();
    }
}

/* One run of this program with other arguments: true when it ended well. Its output on stderr is counted in *said. */
static bool run(const char *what, int threads, int size, int *said) {
    char numbers[2][16];
    snprintf(numbers[0], sizeof numbers[0], "%d", threads);
    snprintf(numbers[1], sizeof numbers[1], "%d", size);
    char *args[] = {"life", (char *)what, numbers[0], numbers[1], NULL};
    int pipe_of[2];
    pid_t child;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    if (pipe(pipe_of) != 0 || posix_spawn_file_actions_adddup2(&actions, pipe_of[1], 2) != 0 ||
        posix_spawn_file_actions_addclose(&actions, pipe_of[0]) != 0 ||
        posix_spawn(&child, "/proc/self/exe", &actions, NULL, args, environ) != 0)
        abort();
    posix_spawn_file_actions_destroy(&actions);
    close(pipe_of[1]);
    char text[4096];
    for (ssize_t got; (got = read(pipe_of[0], text, sizeof text)) > 0; *said += (int)got)
        if (*said < 4096)
            (void)!write(2, text, (size_t)got);
    close(pipe_of[0]);
    int status = 0;
    return waitpid(child, &status, 0) == child && status == 0;
}

static int exits(void) {
    static const int sizes[] = {150000, 0, 40, 2000, 300000};
    int bad = 0, said = 0;
    for (int i = 0; i < 60; i++)
        bad += !run("work", 1 << i % 5, sizes[i / 5 % 5], &said);
    printf("%d of 60 did not end well, %d bytes were said\n", bad, said);
    return bad != 0 || said != 0;
}

static int child_status(void (*life)(int i), int i, bool behind_libc) {
    pid_t child = behind_libc ? (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) : fork();
    if (child == 0) {
        life(i);
        exit(0);
    }
    int status = 0;
    return child < 0 || waitpid(child, &status, 0) != child ? -1 : status;
}

static int children(void (*life)(int i), int count, bool behind_libc) {
    int bad = 0;
    for (int i = 0; i < count; i++)
        bad += child_status(life, i, behind_libc) != 0;
    printf("%d of %d children did not end well\n", bad, count);
    return bad != 0;
}

static void nothing(int i) {
    (void)i;
}

/* Enough that slots beside those of the lost threads are freed, and that the running sweep has gone round. */
static void some_work(int i) {
    static void *objs[512];
    for (int round = 0; round < 40; round++) {
        for (int k = 0; k < 512; k++)
            objs[k] = malloc((size_t)(16 + (i + round + k) % 60 * 50));
        for (int k = 0; k < 512; k++)
            free(objs[k]);
    }
}

/* Pages of an object that the program excluded from the copy, or marked to be wiped. */
static char *left_out[4];
static void ends_left_out(int i) {
    memset(left_out[i], 'x', PAGE); /* it may be used again, when it was wiped */
    if (i % 2 == 0)
        free(left_out[i]);
}
static void passes_left_out(int i) {
    some_work(i);
}

static char *advised(size_t size, int advice) {
    void *obj;
    if (posix_memalign(&obj, PAGE, size) != 0)
        abort();
    memset(obj, 'x', size);
    if (madvise(obj, (size + PAGE - 1) / PAGE * PAGE, advice) != 0)
        abort();
    return obj;
}

static int wiped(void) {
    static const size_t sizes[] = {200000, 160000, 1000000, 3000000};
    int bad = 0;
    for (int i = 0; i < 4; i++)
        left_out[i] = advised(sizes[i], MADV_WIPEONFORK);
    for (int i = 0; i < 4; i++)
        bad += child_status(ends_left_out, i, false) != 0;
    for (int i = 0; i < 4; i++)
        (void)advised(sizes[i], MADV_DONTFORK);
    bad += children(passes_left_out, 4, false);
    printf("%d did not end well\n", bad);
    return bad != 0;
}

static pthread_barrier_t all_are_there;
static void *once(void *unused) {
    enum { OBJECTS = 2000 };
    void *objs[OBJECTS];
    for (int i = 0; i < OBJECTS; i++)
        objs[i] = malloc(48 + (size_t)i % 64);
    for (int i = 0; i < OBJECTS; i++)
        free(objs[i]);
    pthread_barrier_wait(&all_are_there);
    return unused;
}

/* Many threads were alive at once. */
static void had_threads(int count) {
    pthread_t *threads = calloc((size_t)count, sizeof *threads);
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 64 << 10);
    pthread_barrier_init(&all_are_there, NULL, (unsigned)count);
    for (int i = 0; i < count; i++)
        if (pthread_create(&threads[i], &attr, once, NULL) != 0)
            abort();
    for (int i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    free(threads);
}

/* The processor time of a whole run has a limit: many times what a run takes, but less than it took when each slot
 * at exit cost a walk over all threads that ever existed. */
static int crowd(void) {
    int said = 0;
    struct rlimit limit = {5, 5};
    setrlimit(RLIMIT_CPU, &limit);
    bool ended = run("crowd_once", 1500, 0, &said);
    printf("ended well: %d\n", ended);
    return !ended || said != 0;
}

/* Readers of streams; exit() frees their buffers. */
static void *reads(void *unused) {
    FILE *file = fopen("/proc/self/exe", "r");
    char *line = NULL;
    size_t room = 0;
    for (;; rewind(file))
        while (getline(&line, &room, file) > 0) {
        }
    return unused;
}

/* libc itself reads with a length and an address that do not belong together. No allocator can help when the read
 * leads out of all memory. A report of ours would be wrong. */
static int streams(void) {
    int bad = 0, said = 0;
    for (int i = 0; i < 60; i++)
        bad += !run("read", 4, 0, &said);
    printf("%d of 60 did not end well, %d bytes were said\n", bad, said);
    return bad > 6 || said != 0;
}

/* True when neither the page before the object nor the one behind it is mapped: it is sampled. */
static bool stands_alone(const void *obj) {
    char *page = (char *)((uintptr_t)obj / PAGE * PAGE);
    unsigned char resident;
    return mincore(page - PAGE, PAGE, &resident) != 0 && mincore(page + PAGE, PAGE, &resident) != 0;
}

/* With every object sampled, libc's streams are not: other threads may use them while the process ends. */
static int streams_apart(void) {
    if (getenv("HAKMEM_SAMPLE_RATE") == NULL) {
        int said = 0;
        setenv("HAKMEM_SAMPLE_RATE", "1", 1);
        return !run("apart", 0, 0, &said) || said != 0;
    }
    char *text = NULL;
    size_t size;
    void *object = malloc(472);
    FILE *all[] = {fopen("/proc/self/exe", "r"),
                   popen("true", "r"),
                   open_memstream(&text, &size),
                   fopencookie(NULL, "w", (cookie_io_functions_t){.write = NULL}),
                   tmpfile(),
                   fdopen(1, "w")};
    int bad = !stands_alone(object);
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        bad += all[i] == NULL || stands_alone(all[i]);
    return bad;
}

static int one_run(const char *what, int number) {
    if (strcmp(what, "work") == 0)
        start(number);
    else if (strcmp(what, "crowd_once") == 0)
        had_threads(number);
    else if (strcmp(what, "apart") == 0)
        return streams_apart();
    for (int i = 0; i < number && strcmp(what, "read") == 0; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, reads, NULL) != 0)
            abort();
    }
    usleep(30000);
    return 0;
}

static int forks(void (*life)(int i), int count, bool behind_libc) {
    same_size = SMALL;
    start(6);
    usleep(30000);
    int failed = children(life, count, behind_libc);
    fflush(stdout);
    _exit(failed); /* this test does not ask how the process ends */
}

int main(int count, char **args) {
    if (count == 4) {
        same_size = atoi(args[3]);
        return one_run(args[1], atoi(args[2]));
    }
    const char *name = count == 2 ? args[1] : "";
    if (strcmp(name, "exits") == 0)
        return exits();
    if (strcmp(name, "forks") == 0)
        return forks(nothing, 200, false);
    if (strcmp(name, "forks_working") == 0)
        return forks(some_work, 40, false);
    if (strcmp(name, "forks_unseen") == 0)
        return forks(nothing, 100, true);
    if (strcmp(name, "wiped") == 0)
        return wiped();
    if (strcmp(name, "crowd") == 0)
        return crowd();
    if (strcmp(name, "streams") == 0)
        return streams();
    if (strcmp(name, "streams_apart") == 0)
        return streams_apart();
    return 2;
}
