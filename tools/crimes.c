/* crimes.c: two small crimes, for tools/run to show what the hardened variant says about them. */
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
    char *volatile name = buffer; /* hides the crime from the compiler */
    free(name);
}

int main(int argc, char **argv) {
    const char *crime = argc > 1 ? argv[1] : "";
    if (strcmp(crime, "double-free") == 0)
        double_free();
    else if (strcmp(crime, "invalid-free") == 0)
        invalid_free();
    else
        fprintf(stderr, "usage: crimes double-free|invalid-free\n");
    return 2; /* not reached when the crime was caught */
}
