/* errors.c: two small errors, for tools/run to show the hardened variant's reports. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void double_free(void) {
    char *name = malloc(24);
    strcpy(name, "freed twice");
    free(name);
    free(name);
}

static void invalid_free(void) {
    char buffer[64] = "lives on the stack";
    char *volatile name = buffer; /* hides the error from the compiler */
    free(name);
}

int main(int argc, char **argv) {
    const char *error = argc > 1 ? argv[1] : "";
    if (strcmp(error, "double-free") == 0)
        double_free();
    else if (strcmp(error, "invalid-free") == 0)
        invalid_free();
    else
        fprintf(stderr, "usage: errors double-free|invalid-free\n");
    return 2; /* not reached when the error was found */
}
