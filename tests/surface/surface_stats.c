/* surface_stats.c: a heap that is known, for surface_stats_test.py and hakmem_test.py: `surface_stats wait` says
 * "ready" and ends when its input does; `surface_stats title` overwrites its environment; `surface_stats handler N`
 * exits in a signal handler after N microseconds; `surface_stats json SIZE` prints what hak_stats_json writes into a
 * buffer of SIZE bytes, and what it returns. */
#include "tests/surface/want.h"

#include <signal.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

extern size_t hak_stats_json(char *out, size_t size) __attribute__((weak));

enum { COUNT = 5000, SIZE = 1000, LARGE = 4, LARGE_SIZE = 3000000 };
static void *objs[COUNT], *large[LARGE];

static void print_json(size_t size) {
    static char text[65536];
    WANT(hak_stats_json != NULL && size < sizeof text);
    memset(text, 'x', sizeof text);
    size_t length = hak_stats_json(text, size);
    WANT(text[size] == 'x'); /* what comes behind is not touched */
    printf("%zu\n%s\n", length, size == 0 ? "" : text);
}

/* As servers do that write a title over what they were started with. */
static void write_title(void) {
    for (char **one = environ; *one != NULL; one++)
        if (strncmp(*one, "LLVM_", 5) != 0)
            memset(*one, 't', strlen(*one));
}

static void handler(int number) {
    exit(number == SIGALRM ? 0 : 1);
}

/* As servers do at SIGTERM, in the middle of malloc more often than not. */
static void exit_in_handler(long microseconds) {
    static void *objects[3000];
    struct itimerval once = {{0, 0}, {0, microseconds}};
    signal(SIGALRM, handler);
    setitimer(ITIMER_REAL, &once, NULL);
    for (;;) {
        for (int i = 0; i < 3000; i++)
            objects[i] = malloc(i % 9 != 0 ? 200000 : 64);
        for (int i = 0; i < 3000; i++)
            free(objects[i]);
    }
}

int main(int argc, char **argv) {
    for (int i = 0; i < COUNT; i++)
        memset(objs[i] = malloc(SIZE), 1, SIZE);
    for (int i = 0; i < LARGE; i++)
        WANT((large[i] = malloc(LARGE_SIZE)) != NULL);
    if (argc > 2 && strcmp(argv[1], "handler") == 0)
        exit_in_handler(atol(argv[2]));
    else if (argc > 2)
        print_json((size_t)atol(argv[2]));
    else if (argc > 1 && strcmp(argv[1], "title") == 0)
        write_title();
    else if (argc > 1) {
        char byte;
        puts("ready");
        fflush(stdout);
        (void)!read(STDIN_FILENO, &byte, 1);
    }
    return 0;
}
