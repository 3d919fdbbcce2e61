/* ops_tool.c: programs of the operation language as text, and back.
 *
 *   ops_tool print FILE...       the steps, one a line
 *   ops_tool c FILE              a C program that makes the same calls through malloc and free
 *   ops_tool disassemble FILE    the records, in the form that assemble reads
 *   ops_tool assemble [FILE]     records as text (standard input without FILE) to bytes on standard output
 *   ops_tool generate RECORDS SEED    a random program, as bytes on standard output */
#include <stdlib.h>
#include <string.h>

#include "fuzz/mutator.h"
#include "fuzz/ops_print.h"

enum { INPUT_MAX = 1 << 20 };
static uint8_t input[INPUT_MAX];

static int usage(void) {
    fputs("usage: ops_tool print FILE... | c FILE | disassemble FILE | assemble [FILE] | generate RECORDS "
          "SEED\n",
          stderr);
    return 2;
}

/* The bytes of the file into `input`; their number, or -1 with a message. */
static long load(const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        fprintf(stderr, "ops_tool: cannot read %s\n", path);
        return -1;
    }
    size_t length = fread(input, 1, sizeof input, file);
    fclose(file);
    return (long)length;
}

static int print_all(char **paths, void (*print)(FILE *, const uint8_t *, size_t)) {
    for (; *paths != NULL; paths++) {
        long length = load(*paths);
        if (length < 0)
            return 1;
        print(stdout, input, (size_t)length);
    }
    return 0;
}

static int assemble(const char *path) {
    FILE *file = path != NULL ? fopen(path, "r") : stdin;
    if (file == NULL) {
        fprintf(stderr, "ops_tool: cannot read %s\n", path);
        return 1;
    }
    char line[256];
    uint8_t record[OPS_RECORD];
    for (unsigned number = 1; fgets(line, sizeof line, file) != NULL; number++) {
        bool skip;
        if (!ops_parse(line, record, &skip)) {
            fprintf(stderr, "ops_tool: line %u is no record; want NAME mod(0-7) slot(0-255) arg(0-65535): %s",
                    number, line);
            return 1;
        }
        if (!skip)
            fwrite(record, 1, sizeof record, stdout);
    }
    return 0;
}

static int generate(const char *records, const char *seed) {
    size_t count = strtoul(records, NULL, 0);
    if (count == 0 || count > INPUT_MAX / OPS_RECORD)
        return usage();
    fwrite(input, 1, mutator_generate(input, count, strtoull(seed, NULL, 0)), stdout);
    return 0;
}

int main(int argc, char **argv) {
    if (argc >= 3 && strcmp(argv[1], "print") == 0)
        return print_all(argv + 2, ops_print_program);
    if (argc == 3 && strcmp(argv[1], "c") == 0)
        return print_all(argv + 2, ops_print_c);
    if (argc == 3 && strcmp(argv[1], "disassemble") == 0)
        return print_all(argv + 2, ops_print_records);
    if (argc <= 3 && argc >= 2 && strcmp(argv[1], "assemble") == 0)
        return assemble(argv[2]);
    if (argc == 4 && strcmp(argv[1], "generate") == 0)
        return generate(argv[2], argv[3]);
    return usage();
}
