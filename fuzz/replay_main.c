/* replay_main.c: runs a fuzz target without an engine: on the files and folders named, then on inputs of its own
 * making.
 *
 *   target [--generate N] [--records N] [--seed N] [FILE|FOLDER ...]
 *
 * Prints each input's name before it runs, so that a crash names its culprit. A made input that crashes is named by its
 * seed, and `--seed N --generate 1` runs it again. Fails when nothing was run. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz/engine.h"
#include "fuzz/mutator.h"
#include "fuzz/ops.h"

#pragma weak LLVMFuzzerInitialize
#pragma weak LLVMFuzzerCustomMutator

enum { INPUT_MAX = 1 << 20, MUTATIONS = 64 };

static unsigned runs;
static unsigned long long seed = 1;
static long records = 64;
static uint8_t input[INPUT_MAX];

static void usage(const char *problem, const char *what) {
    fprintf(stderr, "%s%s\nusage: target [--generate N] [--records N] [--seed N] [FILE|FOLDER ...]\n",
            problem, what);
    exit(2);
}

/* From a block of its exact size: so a sanitizer sees a read past the end. */
static void run(const uint8_t *bytes, size_t length) {
    uint8_t *copy = malloc(length + (length == 0));
    if (copy == NULL)
        usage("no memory", "");
    memcpy(copy, bytes, length);
    LLVMFuzzerTestOneInput(copy, length);
    free(copy);
    runs++;
}

static void run_file(const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        usage("cannot read ", path);
    size_t length = fread(input, 1, sizeof input, file);
    fclose(file);
    fprintf(stderr, "replay %s (%zu bytes)\n", path, length);
    run(input, length);
}

static void run_path(const char *path) {
    struct stat info;
    if (stat(path, &info) != 0)
        usage("no such file: ", path);
    if (!S_ISDIR(info.st_mode)) {
        run_file(path);
        return;
    }
    struct dirent **names;
    int count = scandir(path, &names, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        char *inside = NULL;
        if (names[i]->d_name[0] != '.' && asprintf(&inside, "%s/%s", path, names[i]->d_name) > 0)
            run_path(inside);
        free(inside);
        free(names[i]);
    }
    if (count >= 0)
        free(names);
}

/* For a crash handler: which made input runs. */
static void announce(unsigned long long number) {
    static char line[64];
    int length = snprintf(line, sizeof line, "replay --seed %llu --generate 1\n", number);
    if (getenv("FUZZ_REPLAY_ALL") != NULL && write(STDERR_FILENO, line, (size_t)length) < 0)
        return;
}

static void run_made(unsigned long long number) {
    size_t length = mutator_generate(input, (size_t)records, number);
    uint64_t random = number;
    if (LLVMFuzzerCustomMutator != NULL)
        for (int i = 0; i < MUTATIONS; i++)
            length = LLVMFuzzerCustomMutator(input, length, (size_t)(2 * records) * OPS_RECORD,
                                             (unsigned)mutator_random(&random));
    announce(number);
    run(input, length);
}

static long number_of(int argc, char **argv, int at) {
    char *end;
    long n = at < argc ? strtol(argv[at], &end, 0) : -1;
    if (at >= argc || *end != 0 || n < 0)
        usage("a number must follow ", argv[at - 1]);
    return n;
}

int main(int argc, char **argv) {
    long generate = 0;
    if (LLVMFuzzerInitialize != NULL)
        LLVMFuzzerInitialize(&argc, &argv);
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--generate") == 0)
            generate = number_of(argc, argv, ++i);
        else if (strcmp(argv[i], "--records") == 0)
            records = number_of(argc, argv, ++i);
        else if (strcmp(argv[i], "--seed") == 0)
            seed = (unsigned long long)number_of(argc, argv, ++i);
        else if (argv[i][0] == '-')
            usage("unknown option ", argv[i]);
        else
            run_path(argv[i]);
    }
    if (records < 1 || records > INPUT_MAX / OPS_RECORD / 2)
        usage("--records must be between 1 and 131072", "");
    for (long i = 0; i < generate; i++)
        run_made(seed + (unsigned long long)i);
    if (runs == 0)
        usage("no inputs", "");
    fprintf(stderr, "ran %u inputs\n", runs);
    return 0;
}
