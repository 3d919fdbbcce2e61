/* ops_print.c: see ops_print.h. */
#include "fuzz/ops_print.h"

#include <stdlib.h>
#include <string.h>

static void print_call(char *text, const ops_step *s) {
    switch (s->code) {
    case OPS_MALLOC:
        snprintf(text, OPS_TEXT_MAX, "p[%u] = malloc(%zuu)", s->slot, s->size);
        break;
    case OPS_CALLOC:
        snprintf(text, OPS_TEXT_MAX, "p[%u] = calloc(%zuu, %zuu)", s->slot, s->count, s->size);
        break;
    case OPS_ALIGNED_ALLOC:
        snprintf(text, OPS_TEXT_MAX, "p[%u] = aligned_alloc(%zuu, %zuu)", s->slot, s->alignment, s->size);
        break;
    case OPS_POSIX_MEMALIGN:
        snprintf(text, OPS_TEXT_MAX, "if (posix_memalign(&p[%u], %zuu, %zuu)) p[%u] = NULL", s->slot,
                 s->alignment, s->size, s->slot);
        break;
    case OPS_MEMALIGN:
        snprintf(text, OPS_TEXT_MAX, "p[%u] = memalign(%zuu, %zuu)", s->slot, s->alignment, s->size);
        break;
    case OPS_REALLOC:
        snprintf(text, OPS_TEXT_MAX, "resized(%u, realloc(p[%u], %zuu), %zuu)", s->slot, s->slot, s->size,
                 s->size);
        break;
    case OPS_REALLOCARRAY:
        snprintf(text, OPS_TEXT_MAX, "resized(%u, reallocarray(p[%u], %zuu, %zuu), %zuu)", s->slot, s->slot,
                 s->count, s->size, s->count * s->size);
        break;
    default:
        snprintf(text, OPS_TEXT_MAX, "%s slot %u size %zu alignment %zu detail %u arg %u", ops_name(s->code),
                 s->slot, s->size, s->alignment, s->detail, s->arg);
        break;
    }
}

/* The operations of fuzz_os and the attack targets have no name in libc; they are comments in a C program. */
void ops_print_step(char text[OPS_TEXT_MAX], const ops_step *s) {
    switch (s->code) {
    case OPS_FREE:
        snprintf(text, OPS_TEXT_MAX, "free(p[%u])", s->slot);
        break;
    case OPS_FREE_SIZED:
        snprintf(text, OPS_TEXT_MAX, "free_sized(p[%u], %zuu)", s->slot, s->size);
        break;
    case OPS_FREE_ALIGNED_SIZED:
        snprintf(text, OPS_TEXT_MAX, "free_aligned_sized(p[%u], %zuu, %zuu)", s->slot, s->alignment, s->size);
        break;
    case OPS_USABLE_SIZE:
        snprintf(text, OPS_TEXT_MAX, "malloc_usable_size(p[%u])", s->slot);
        break;
    case OPS_WRITE:
        snprintf(text, OPS_TEXT_MAX, "fill(%u)", s->slot);
        break;
    case OPS_VERIFY:
        snprintf(text, OPS_TEXT_MAX, "verify(%u)", s->slot);
        break;
    case OPS_TRIM:
        snprintf(text, OPS_TEXT_MAX, "malloc_trim(%zuu)", s->size);
        break;
    case OPS_THREAD:
        snprintf(text, OPS_TEXT_MAX, "/* from here on thread %u runs */", s->arg % OPS_THREADS);
        break;
    case OPS_THREAD_END:
        snprintf(text, OPS_TEXT_MAX, "/* the running thread ends; the next call is a new one's */");
        break;
    case OPS_FAIL_OS:
        snprintf(text, OPS_TEXT_MAX, "/* memory call %u of the OS from now fails */", 1 + (s->arg & 15));
        break;
    case OPS_AGE:
        snprintf(text, OPS_TEXT_MAX, "usleep(%u * 1000)", s->arg);
        break;
    case OPS_FORK:
    case OPS_EXIT:
        snprintf(text, OPS_TEXT_MAX, "exit_of_child() /* %s */", ops_name(s->code));
        break;
    case OPS_LIMIT:
        snprintf(text, OPS_TEXT_MAX, "/* from call %u on the OS gives no memory; 0: it does again */",
                 s->arg & 15);
        break;
    case OPS_POOL:
        snprintf(text, OPS_TEXT_MAX, "/* each thread but this has objects of %zu bytes, and ends */",
                 s->size);
        break;
    case OPS_STATS:
    case OPS_CHECK:
    case OPS_POLICY:
        snprintf(text, OPS_TEXT_MAX, "/* %s %u %u */", ops_name(s->code), s->detail, s->arg);
        break;
    default:
        print_call(text, s);
        break;
    }
}

typedef struct printing {
    FILE *out;
    ops_program program;
    unsigned step;
} printing;

static bool print_line(void *context, const ops_step *step) {
    printing *to = context;
    char text[OPS_TEXT_MAX];
    ops_print_step(text, step);
    fprintf(to->out, "%4u  %s\n", ++to->step, text);
    ops_program_assume(&to->program, step);
    return true;
}

void ops_print_program(FILE *out, const uint8_t *bytes, size_t length) {
    printing to = {.out = out};
    ops_program_init(&to.program, bytes, length);
    while (ops_program_next(&to.program, print_line, &to))
        ;
}

static const char c_prelude[] =
    "/* Made from an input of a fuzz target. cc -fno-builtin this.c && ./a.out; or under LD_PRELOAD. */\n"
    "#define _GNU_SOURCE\n"
    "#include <malloc.h>\n#include <stdint.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include "
    "<string.h>\n#include <sys/wait.h>\n#include <unistd.h>\n\n"
    "void free_sized(void *, size_t) __attribute__((weak));\n"
    "void free_aligned_sized(void *, size_t, size_t) __attribute__((weak));\n"
    "static void *p[256];\nstatic size_t size[256];\nstatic unsigned char key[256], next_key;\n\n"
    "static unsigned char pattern(int i, size_t at) { return (unsigned char)(key[i] + at + (at >> 8) * 31) | "
    "1; }\n"
    "static void check(int i, size_t n) {\n"
    "    for (size_t at = 0; p[i] && at < n; at++)\n"
    "        if (((unsigned char *)p[i])[at] != pattern(i, at)) {\n"
    "            fprintf(stderr, \"object %d has changed at byte %zu\\n\", i, at);\n            abort();\n   "
    "     }\n}\n"
    "static void verify(int i) { check(i, size[i]); }\n"
    "static void fill(int i) {\n    key[i] = next_key += 37;\n"
    "    for (size_t at = 0; p[i] && at < size[i]; at++)\n        ((unsigned char *)p[i])[at] = pattern(i, "
    "at);\n}\n"
    "static void made(int i, size_t n) { size[i] = p[i] ? n : 0; fill(i); }\n"
    "static void resized(int i, void *to, size_t n) {\n"
    "    if (to == NULL && n != 0) return;\n"
    "    p[i] = to;\n    check(i, n < size[i] ? n : size[i]);\n    made(i, n);\n}\n\n"
    "static void exit_of_child(void) {\n    int status = 0;\n    pid_t child = fork();\n"
    "    if (child == 0) {\n        for (int i = 0; i < 256; i++) verify(i);\n        exit(0);\n    }\n"
    "    if (child > 0 && waitpid(child, &status, 0) == child && status != 0) {\n"
    "        fprintf(stderr, \"a child ended with status %d\\n\", status);\n        abort();\n    }\n}\n\n"
    "int main(void) {\n";

/* An error that no call of libc makes, written out. */
static void print_error(FILE *out, const ops_step *s) {
    static const char *const bad[8] = {"p[%u]",
                                       "(char *)p[%u] + 16",
                                       "(char *)p[%u] + 1",
                                       "&p[%u]",
                                       "(char *)p + 16 * %u",
                                       "(void *)(uintptr_t)(8 + %u)",
                                       "(char *)p[%u] + 32",
                                       "(char *)p[%u] + 4096"};
    fprintf(out, "    ");
    switch (s->code) {
    case OPS_BAD_FREE:
        fprintf(out, "free(");
        fprintf(out, bad[s->detail], s->slot);
        fprintf(out, ");");
        break;
    case OPS_OVERFLOW:
        fprintf(out, "memset((char *)p[%u] + size[%u], %u, %u);", s->slot, s->slot, s->arg & 255,
                s->detail + 1);
        break;
    case OPS_UNDERFLOW:
        fprintf(out, "memset((char *)p[%u] - %u, %u, %u);", s->slot, s->detail + 1, s->arg & 255,
                s->detail + 1);
        break;
    case OPS_BAD_SIZE:
        fprintf(out, "free_sized(p[%u], size[%u] + %u);", s->slot, s->slot, s->detail + 1);
        break;
    default:
        fprintf(out, "/* %s %u %u */", ops_name(s->code), s->detail, s->arg);
        break;
    }
    fprintf(out, " /* error: %s */\n", ops_name(s->code));
}

static bool print_c_step(void *context, const ops_step *s) {
    printing *to = context;
    char text[OPS_TEXT_MAX];
    ops_print_step(text, s);
    bool makes = s->code <= OPS_MEMALIGN;
    bool frees = s->code >= OPS_FREE && s->code <= OPS_FREE_ALIGNED_SIZED;
    if (ops_is_error(s->code)) {
        print_error(to->out, s);
    } else if (makes) {
        fprintf(to->out, "    %s;\n    made(%u, %zuu);\n", text, s->slot, s->count * s->size);
    } else if (frees) {
        fprintf(to->out, "    verify(%u);\n    ", s->slot);
        if (s->code != OPS_FREE) /* libc may lack it */
            fprintf(to->out, "if (!%s) free(p[%u]); else ",
                    s->code == OPS_FREE_SIZED ? "free_sized" : "free_aligned_sized", s->slot);
        fprintf(to->out, "%s;\n    p[%u] = NULL;\n", text, s->slot);
    } else {
        fprintf(to->out, "    %s%s\n", text, text[0] == '/' ? "" : ";");
    }
    ops_program_assume(&to->program, s);
    return true;
}

void ops_print_c(FILE *out, const uint8_t *bytes, size_t length) {
    printing to = {.out = out};
    fputs(c_prelude, out);
    ops_program_init(&to.program, bytes, length);
    while (ops_program_next(&to.program, print_c_step, &to))
        ;
    fputs("    return 0;\n}\n", out);
}

void ops_print_records(FILE *out, const uint8_t *bytes, size_t length) {
    for (; length >= OPS_RECORD; bytes += OPS_RECORD, length -= OPS_RECORD) {
        ops_record r = ops_decode(bytes);
        ops_code code = r.code == OPS_LIFE ? (ops_code)(OPS_CODES + r.mod) : r.code;
        fprintf(out, "%s %u %u %u\n", ops_name(code), r.mod, r.slot, r.arg);
    }
}

bool ops_parse(const char *line, uint8_t record[OPS_RECORD], bool *skip) {
    char name[32];
    unsigned mod, slot, arg;
    line += strspn(line, " \t");
    *skip = *line == '#' || *line == '\n' || *line == 0;
    if (*skip)
        return true;
    if (sscanf(line, "%31s %u %u %u", name, &mod, &slot, &arg) != 4 || mod > 7 || slot > 255 || arg > 65535)
        return false;
    for (unsigned code = 0; code < OPS_STEP_CODES; code++)
        if (strcmp(name, ops_name((ops_code)code)) == 0) {
            if (code >= OPS_CODES) { /* the name contains the mod */
                mod = code - OPS_CODES;
                code = OPS_LIFE;
            }
            ops_encode((ops_record){(ops_code)code, (uint8_t)mod, (uint8_t)slot, (uint16_t)arg}, record);
            return true;
        }
    return false;
}
