/* races_test.c: other things that may happen while threads work: calls for the memory in use, trims, forks, exits,
 * and refused memory. --config=tsan finds races. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "allocator/api/usage.h"
#include "allocator/cache/cache.h"
#include "allocator/heap/large.h"
#include "allocator/os/os.h"
#include "allocator/pages/release.h"
#include "allocator/pages/superslab.h"
#include "include/hakmem.h"
#include "tests/stress/crowd.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CASE(text, function) {text, function, NULL, NULL, NULL}

enum { THREADS = 4, LOOKS = 120, FAILURES = 200, FORKS = 40, EXITS = 24, PAUSE_US = 1000 };

static void looks(void **state) {
    (void)state;
    crowd_start(THREADS);
    void *own = hak_malloc(100);
    for (int i = 0; i < LOOKS; i++) {
        static hak_usage usage; /* some KiB */
        hak_stats stats;
        hak_stats_read(&stats);
        hak_usage_read(&usage);
        assert_true(stats.caches != 0 && usage.used.count != 0);
        assert_true(usage.set_aside.count < (size_t)1 << 32);
        assert_true(hak_usable_size(own) >= 100);
        if (i % 8 == 0)
            hak_trim(i % 16 * HAK_MIB);
        usleep(PAUSE_US);
    }
    hak_free(own);
    crowd_stop();
}

static void policies(void **state) {
    (void)state;
    static const hak_decommit how[] = {HAK_DECOMMIT_DONTNEED, HAK_DECOMMIT_FREE, HAK_DECOMMIT_OFF};
    for (unsigned i = 0; i < 3; i++) {
        hak_release_init(true, how[i], HAK_MIB);
        crowd_start(THREADS);
        crowd_work(99 + i, 3000);
        crowd_stop();
    }
}

/* Requests are refused or served, now in one thread, now in another; objects handed out before stay unchanged. */
static void failures(void **state) {
    (void)state;
    crowd_start(THREADS);
    for (uint64_t i = 0; i < FAILURES; i++) {
        hak_os_fail_at((1 + i % 5) | (i % 4 == 0 ? HAK_OS_FAIL_ON : 0));
        usleep(PAUSE_US);
        hak_os_fail_at(0);
    }
    crowd_stop();
    hak_free(hak_malloc(1));
    hak_large_check();
    hak_superslab_check();
}

static void forks(void **state) {
    (void)state;
    crowd_start(THREADS);
    for (int i = 0; i < FORKS; i++) {
        pid_t child = fork();
        if (child == 0) {
            crowd_work((uint64_t)i, 100);
            _exit(0);
        }
        int status = -1;
        assert_true(child > 0 && waitpid(child, &status, 0) == child);
        assert_int_equal(status, 0);
    }
    crowd_stop();
}

static const char *myself = "/proc/self/exe";

/* A process of its own, which exits while its threads work. */
static int exits_at_work(unsigned threads) {
    char number[16] = {(char)('0' + threads / 10), (char)('0' + threads % 10)};
    int status = -1;
    pid_t child = fork();
    if (child == 0) {
        execl(myself, myself, number, NULL);
        _exit(126);
    }
    return child > 0 && waitpid(child, &status, 0) == child ? status : -1;
}

static void exits(void **state) {
    (void)state;
    for (unsigned i = 0; i < EXITS; i++)
        assert_int_equal(exits_at_work(1 + i * 5 % CROWD_MOST), 0);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        CASE("who reads statistics, trims or asks for a usable size disturbs nobody", looks),
        CASE("memory goes back under every policy while threads work", policies),
        CASE("when the OS refuses, every thread goes on with what it has", failures),
        CASE("children of a process whose threads work can work", forks),
        CASE("a process exits while its threads work, and says nothing", exits),
    };
    if (argc == 2) {
        crowd_start((unsigned)atoi(argv[1]));
        usleep(30 * PAUSE_US);
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
