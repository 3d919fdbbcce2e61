/* ops_print.h: programs of the operation language as text: one readable line per step, or a C program of its own. */
#ifndef FUZZ_OPS_PRINT_H
#define FUZZ_OPS_PRINT_H

#include <stdio.h>

#include "fuzz/ops.h"

enum { OPS_TEXT_MAX = 160 };

/* One step without a newline: `p[3] = malloc(100)`. Always ends with a zero byte. */
void ops_print_step(char text[OPS_TEXT_MAX], const ops_step *step);

/* The program's steps, one a line, numbered, under the assumption that every possible call succeeds. */
void ops_print_program(FILE *out, const uint8_t *bytes, size_t length);

/* A C program that makes the same calls through the plain names of libc, and checks the objects' bytes itself. */
void ops_print_c(FILE *out, const uint8_t *bytes, size_t length);

/* The text form of a record, `MALLOC mod slot arg`; ops_parse reads it. */
void ops_print_records(FILE *out, const uint8_t *bytes, size_t length);

/* Reads one line of that form; false when it is none. An empty line or one that begins with # is skipped: *skip. */
bool ops_parse(const char *line, uint8_t record[OPS_RECORD], bool *skip);

#endif
