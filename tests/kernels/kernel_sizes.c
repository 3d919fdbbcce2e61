/* kernel_sizes.c: how much memory can be had in one size alone, at a limit that was there before the program began
 * and at one that it sets itself. For every size, also where rounding up costs most, it is nine tenths of what glibc
 * gets; and it is the same after everything was freed once. glibc's figures come from this program itself, run once
 * more without the allocator. */
#include "kernel_limit.h"

#include <string.h>
#include <sys/resource.h>

enum { MIB = 1 << 20, LIMIT = 160 * MIB, ROUNDS = 2 };

static const size_t sizes[] = {64,     100,    129,    200,   520,     1025,          2049,
                               3073,   4097,   8200,   33000, 66000,   132000,        197000,
                               263000, 300000, 524300, MIB,   MIB + 1, 2 * MIB + 100, 4 * MIB + 1};
static const char *const whens[] = {"AS-before", "AS-within", "DATA-within"};

static void set(const char *when) {
    struct rlimit limit = {LIMIT, LIMIT};
    CHECK(setrlimit(when[0] == 'A' ? RLIMIT_AS : RLIMIT_DATA, &limit) == 0);
}

/* The life of a process: prints what it gets, in KiB. */
static void live(const char *when, size_t size) {
    if (strstr(when, "within") != NULL) {
        free(malloc(MIB));
        set(when);
    }
    for (int i = 0; i < ROUNDS; i++)
        printf("%zu\n", kernel_fill(size) / 1024);
}

static void measure(const char *when, size_t size, bool bare, size_t got[ROUNDS]) {
    char arguments[64];
    bool before = strstr(when, "before") != NULL;
    snprintf(arguments, sizeof arguments, "%s %zu %s", before ? "set" : "live", size, when);
    kernel_figures(arguments, bare, got, ROUNDS);
}

int main(int argc, char **argv) {
    if (argc > 3 && strcmp(argv[1], "set") == 0) {
        set(argv[3]);
        execl("/proc/self/exe", argv[0], "live", argv[2], argv[3], (char *)NULL);
    }
    if (argc > 3) {
        live(argv[3], strtoull(argv[2], NULL, 10));
        return 0;
    }
    bool all = true;
    for (size_t w = 0; w < sizeof whens / sizeof whens[0]; w++)
        for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
            size_t ours[ROUNDS], theirs[ROUNDS];
            measure(whens[w], sizes[s], false, ours);
            measure(whens[w], sizes[s], true, theirs);
            for (int i = 0; i < ROUNDS; i++) {
                bool enough = ours[i] * 10 >= theirs[i] * 9;
                all &= enough;
                if (!enough)
                    printf("%s, %zu bytes, round %d: %zu KiB, glibc %zu\n", whens[w], sizes[s], i + 1,
                           ours[i], theirs[i]);
            }
        }
    CHECK(all);
    return kernel_passed();
}
