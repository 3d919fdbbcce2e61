/* kernel_bad.c HOW: fails on purpose. The harness must report it as failed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* More than a cgroup of 256 MiB has, and more than half of the machine's memory, for a machine that may promise only
 * half. */
static int eat(void) {
    for (int mib = 0; mib < 900; mib++) {
        char *obj = malloc(1 << 20);
        if (obj == NULL)
            return 2;
        memset(obj, 1, 1 << 20);
    }
    printf("900 MiB\n");
    return 0;
}

int main(int argc, char **argv) {
    const char *how = argc > 1 ? argv[1] : "";
    if (strcmp(how, "fails") == 0) {
        printf("1 check failed\n");
        return 1;
    }
    if (strcmp(how, "dies") == 0)
        abort();
    if (strcmp(how, "hangs") == 0)
        pause();
    if (strcmp(how, "eats") == 0)
        return eat();
    return 0; /* and prints nothing */
}
