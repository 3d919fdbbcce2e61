/* kernel_locked.c: mlockall without privilege under the usual limit of 8 MiB, in a small program that used sizes of
 * all kinds before, or uses them afterwards. The call succeeds, a thread starts, allocations within the limit
 * succeed, and others fail with ENOMEM. */
#include "kernel_check.h"

#include <errno.h>
#include <linux/capability.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

enum { KIB = 1 << 10, LIMIT = 8192 * KIB, FEW = 7, LEAST = 512 * KIB, STACK = 64 * KIB };
static const size_t sizes[] = {16,   24,   40,   100,  200, 500, 1000, 64,   80,    48,    300,   700,
                               1500, 2000, 3000, 4000, 128, 160, 5000, 8000, 10000, 16000, 20000, 30000};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

static void *works(void *arg) {
    free(malloc(100));
    return arg;
}

/* The kernel does not check the limit of a privileged process. */
static void drop_privilege(void) {
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct none[2] = {{0, 0, 0}, {0, 0, 0}};
    CHECK(syscall(SYS_capset, &head, none) == 0);
}

static void use(int count) {
    static char *objs[SIZES];
    for (int i = 0; i < count; i++) {
        CHECK((objs[i] = malloc(sizes[i])) != NULL);
        memset(objs[i], 1, sizes[i]);
    }
}

static void takes_what_there_is(size_t size) {
    static char *links;
    size_t got = 0;
    for (char *obj; got < 2 * LIMIT && (obj = malloc(size)) != NULL; got += size) {
        memset(obj, 1, size);
        *(char **)obj = links;
        links = obj;
    }
    CHECK(got >= LEAST && got < 2 * LIMIT);
    CHECK(errno == ENOMEM || hak_variant == NULL); /* glibc leaves the kernel's EAGAIN */
    for (char *next; links != NULL; links = next) {
        next = *(char **)links;
        free(links);
    }
}

static void start_thread(void) {
    pthread_attr_t attr;
    pthread_t thread;
    size_t least = (size_t)sysconf(_SC_THREAD_STACK_MIN); /* arm64: 128 KiB */
    CHECK(pthread_attr_init(&attr) == 0 &&
          pthread_attr_setstacksize(&attr, STACK > least ? STACK : least) == 0);
    CHECK(pthread_create(&thread, &attr, works, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
}

/* Uses `before` sizes before the call, and `after` sizes after it. */
static void live(int flags, int before, int after) {
    drop_privilege();
    use(before);
    CHECK(mlockall(flags) == 0);
    start_thread();
    use(after);
    if ((flags & MCL_FUTURE) != 0 && before + after <= FEW) {
        takes_what_there_is(100);
        takes_what_there_is(3000);
        takes_what_there_is(100);
    }
}

int main(void) {
    static const int flags[] = {MCL_CURRENT, MCL_FUTURE, MCL_CURRENT | MCL_FUTURE};
    static const struct {
        int before, after;
    } uses[] = {{FEW, 0}, {0, FEW}, {SIZES, 0}, {0, SIZES}};
    enum { LIVES = 3 * sizeof uses / sizeof uses[0] };
    struct rlimit limit = {LIMIT, LIMIT};
    if (setrlimit(RLIMIT_MEMLOCK, &limit) != 0) { /* only root may raise it: kernel 5.10 begins with 64 KiB */
        CHECK(getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_max < LIMIT);
        printf("SKIPPED: no more than %lu bytes may be locked here\n", (unsigned long)limit.rlim_max);
        return 0;
    }
    for (size_t i = 0; i < LIVES; i++) {
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            live(flags[i % 3], uses[i / 3].before, uses[i / 3].after);
            _exit(0);
        }
        CHECK(child > 0 && kernel_child_ends(child, 0));
    }
    return kernel_passed();
}
