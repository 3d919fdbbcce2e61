/* at_start.c: see at_start.h. */
#include "tests/unit/at_start.h"

#include "allocator/os/os.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define VARIABLE "HAK_TEST_FAIL_AT_START="

#if UNDER_MSAN
/* Instrumented code needs its shadow, which a constructor sets up; a second call does nothing. */
extern void __msan_init(void);
__attribute__((section(".preinit_array"), used)) static void (*const shadow_first)(void) = __msan_init;
#endif

/* Runs before every constructor, also the allocator's and a sanitizer's. */
__attribute__((no_sanitize("address", "thread"))) static void early(int argc, char **argv,
                                                                    char **environment) {
    (void)argc, (void)argv;
    for (; *environment != NULL; environment++) {
        const char *text = *environment, *name = VARIABLE;
        while (*name != 0 && *text == *name)
            text++, name++;
        uint64_t k = 0;
        for (; *name == 0 && *text >= '0' && *text <= '9'; text++)
            k = k * 10 + (uint64_t)(*text - '0');
        if (k != 0)
            (void)hak_os_fail_at(k);
    }
}
__attribute__((section(".preinit_array"), used)) static void (*const at_first)(int, char **, char **) = early;

int at_start_run(uint64_t k, const char *argument) {
    char variable[64];
    snprintf(variable, sizeof variable, VARIABLE "%llu", (unsigned long long)k);
    int status = -1;
    pid_t child = fork();
    if (child == 0) {
        putenv(variable);
        execl("/proc/self/exe", "/proc/self/exe", argument, NULL);
        _exit(126);
    }
    return child > 0 && waitpid(child, &status, 0) == child ? status : -1;
}
