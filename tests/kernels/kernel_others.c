/* kernel_others.c: what a program has freed can be had by others than the allocator, where a limit counts mapped
 * memory: mappings, stacks of threads. Afterwards the allocator can have it again. The limit is there when the program
 * begins, or comes when it has freed everything: set by itself, or by another process. glibc's figures come from this
 * program itself, run once more without the allocator: the program gets nine tenths of them. */
#include "kernel_limit.h"

#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

enum { MIB = 1 << 20, LIMIT = 150 * MIB, PEAK = 120 * MIB, STACK = 8 * MIB, FIGURES = 4 };

/* How the program uses its memory before it frees it: sizes from `least` to `most`, all in the same proportion. */
typedef struct life {
    const char *name;
    size_t least, most;
    enum order { FORWARDS, BACKWARDS, AT_RANDOM } order;
    size_t kept; /* bytes that stay in use */
} life;

static const life lives[] = {
    {"16 B", 16, 16, FORWARDS, 0},
    {"100 B", 100, 100, FORWARDS, 0},
    {"100 B, the last first", 100, 100, BACKWARDS, 0},
    {"1000 B", 1000, 1000, FORWARDS, 0},
    {"10 KB", 10000, 10000, FORWARDS, 0},
    {"60 KB", 60000, 60000, FORWARDS, 0},
    {"200 KB", 200000, 200000, AT_RANDOM, 0},
    {"300 KB", 300000, 300000, AT_RANDOM, 0},
    {"1 MB", 1000000, 1000000, AT_RANDOM, 0},
    {"20 MB", 20000000, 20000000, FORWARDS, 0},
    {"16 B to 16 KB", 16, 16000, BACKWARDS, 0},
    {"16 B to 4 MB", 16, 4000000, AT_RANDOM, 0},
    {"128 KB to 8 MB", 128000, 8000000, AT_RANDOM, 0},
    {"1000 B, 30 MB stay", 1000, 1000, BACKWARDS, 30000000},
    {"1 MB, 30 MB stay", 1000000, 1000000, FORWARDS, 30000000},
};
enum { LIVES = sizeof lives / sizeof lives[0] };

typedef enum when { BEFORE_START, AFTER_FREE, DATA_AFTER_FREE, FROM_OUTSIDE, WHENS } when;
static const char *const when_names[] = {"limit at start", "limit after the frees",
                                         "RLIMIT_DATA after the frees", "limit from outside"};

static uint32_t state = 1;
static uint32_t random_number(void) {
    state = state * 1664525 + 1013904223;
    return state >> 8;
}

/* Each size between the bounds is as likely as its double. */
static size_t draw(const life *its) {
    size_t most = its->least;
    while (most < its->most && random_number() % 4 != 0)
        most *= 2;
    most = most < its->most ? most : its->most;
    return its->least + (most > its->least ? random_number() % (most - its->least) : 0);
}

static void use_and_free(const life *its) {
    enum { PLACES = PEAK / 16 };
    /* not of the allocator, and gone afterwards */
    void **objs =
        mmap(NULL, PLACES * sizeof *objs / 8, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(objs != MAP_FAILED);
    size_t count = 0;
    for (size_t bytes = 0; bytes < PEAK && count < PLACES / 8;) {
        size_t size = draw(its);
        if ((objs[count] = malloc(size)) == NULL)
            break;
        *(char *)objs[count++] = 1;
        bytes += size < 32 ? 32 : size;
    }
    size_t kept = its->kept / its->least;
    for (size_t i = count; its->order == AT_RANDOM && i > 1; i--) {
        size_t j = random_number() % i;
        void *obj = objs[j];
        objs[j] = objs[i - 1];
        objs[i - 1] = obj;
    }
    for (size_t i = kept; i < count; i++)
        free(objs[its->order == BACKWARDS ? count + kept - 1 - i : i]);
    CHECK(munmap(objs, PLACES * sizeof *objs / 8) == 0);
}

/* How many mappings of a megabyte can be had. */
static size_t mappings(void) {
    static void *got[LIMIT / MIB];
    size_t count = 0;
    while (count < LIMIT / MIB) {
        got[count] = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (got[count] == MAP_FAILED)
            break;
        count++;
    }
    for (size_t i = 0; i < count; i++)
        CHECK(munmap(got[i], MIB) == 0);
    return count;
}

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static void *waits(void *arg) {
    CHECK(pthread_mutex_lock(&gate) == 0);
    CHECK(pthread_mutex_unlock(&gate) == 0);
    return arg;
}

static size_t threads(void) {
    enum { MOST = LIMIT / STACK };
    pthread_t got[MOST];
    pthread_attr_t attributes;
    size_t count = 0;
    CHECK(pthread_attr_init(&attributes) == 0 && pthread_attr_setstacksize(&attributes, STACK) == 0);
    CHECK(pthread_setattr_default_np(&attributes) == 0); /* every other thread says nothing of its stack */
    CHECK(pthread_mutex_lock(&gate) == 0);
    while (count < MOST && pthread_create(&got[count], count % 2 ? &attributes : NULL, waits, NULL) == 0)
        count++;
    CHECK(pthread_mutex_unlock(&gate) == 0);
    for (size_t i = 0; i < count; i++)
        CHECK(pthread_join(got[i], NULL) == 0);
    return count;
}

/* By either call. */
static void set_limit(int resource) {
    struct rlimit limit = {LIMIT, LIMIT};
    if (resource == RLIMIT_DATA)
        CHECK(prlimit(getpid(), resource, &limit, NULL) == 0);
    else
        CHECK(setrlimit(resource, &limit) == 0);
}

/* Another process sets the limit. Threads can be had at once. For mappings the program must go on for a moment, because
 * the allocator looks for a limit only now and then. */
static void limit_from_outside(void) {
    struct rlimit limit = {LIMIT, LIMIT};
    pid_t self = getpid(), other = fork();
    CHECK(other >= 0);
    if (other == 0)
        _exit(syscall(SYS_prlimit64, self, RLIMIT_AS, &limit, NULL) == 0 ? 0 : 1);
    CHECK(kernel_child_ends(other, 0));
}

static void go_on_for_a_moment(void) {
    for (int i = 0; i < 6; i++) {
        usleep(50000);
        free(malloc(300000));
    }
}

/* Prints the figures of one life. */
static void live(when when, const life *its) {
    use_and_free(its);
    if (when == FROM_OUTSIDE)
        limit_from_outside();
    else if (when != BEFORE_START)
        set_limit(when == AFTER_FREE ? RLIMIT_AS : RLIMIT_DATA);
    size_t got[FIGURES];
    if (when == FROM_OUTSIDE) {
        got[1] = threads();
        go_on_for_a_moment();
    }
    got[0] = mappings();
    if (when != FROM_OUTSIDE)
        got[1] = threads();
    got[2] = kernel_fill(60000) / MIB;
    got[3] = kernel_fill(300000) / MIB;
    for (int i = 0; i < FIGURES; i++)
        printf("%zu\n", got[i]);
}

static void measure(int when, int which, bool bare, size_t got[FIGURES]) {
    char arguments[32];
    snprintf(arguments, sizeof arguments, "%d %d", when, which);
    kernel_figures_within(when == BEFORE_START ? LIMIT / 1024 : 0, arguments, bare, got, FIGURES);
}

int main(int argc, char **argv) {
    if (argc > 2) {
        live((when)atoi(argv[1]), &lives[atoi(argv[2])]);
        return 0;
    }
    static const char *const figures[FIGURES] = {"mappings", "threads", "MiB of 60 KB", "MiB of 300 KB"};
    int poor = 0;
    /* libc keeps stacks of ended threads, the more the more threads there were */
    CHECK(setenv("GLIBC_TUNABLES", "glibc.pthread.stack_cache_size=0", 1) == 0);
    for (int when = 0; when < WHENS; when++)
        for (int which = 0; which < LIVES; which += when < DATA_AFTER_FREE ? 1 : 4) {
            size_t ours[FIGURES], theirs[FIGURES];
            measure(when, which, false, ours);
            measure(when, which, true, theirs);
            printf("%s, %s:", when_names[when], lives[which].name);
            for (int i = 0; i < FIGURES; i++) {
                bool enough = ours[i] * 10 >= theirs[i] * 9;
                poor += !enough;
                printf(" %s %zu of %zu%s", figures[i], ours[i], theirs[i], enough ? "" : " (!)");
            }
            printf("\n");
        }
    CHECK(poor == 0);
    return kernel_passed();
}
