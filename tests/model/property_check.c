/* property_check.c: runs cases in a child and shrinks what fails; see properties.h. */
#include "tests/model/properties.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fuzz/ops_print.h"

enum { TRIES = 4000, RULE_MAX = 160 };

/* Shared with the child. */
typedef struct progress {
    uint64_t seed;       /* of the running case */
    char rule[RULE_MAX]; /* that was broken; empty: none */
} progress;

static progress *shared_progress(void) {
    static progress *page;
    if (page == NULL) {
        void *map = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        page = map == MAP_FAILED ? NULL : map;
    }
    return page;
}

/* Calls `work` in a child; true when it ended well and noted no rule. `quiet`: its stderr is not shown. */
static bool in_child(void (*work)(const void *context), const void *context, bool quiet) {
    progress *note = shared_progress();
    fflush(NULL);
    pid_t child = note != NULL ? fork() : -1;
    if (child == 0) {
        if (quiet && freopen("/dev/null", "w", stderr) == NULL)
            _exit(3);
        note->rule[0] = 0;
        work(context);
        _exit(0); /* skips the exit handlers of the test */
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child)
        return false;
    if (status != 0 && note->rule[0] == 0)
        snprintf(note->rule, sizeof note->rule, "the process ended with status %d", status);
    return status == 0 && note->rule[0] == 0;
}

static void note_rule(const char *rule) {
    if (rule != NULL)
        snprintf(shared_progress()->rule, RULE_MAX, "%s", rule);
}

typedef struct one_program {
    const property *p;
    const heap_api *heap;
    const uint8_t *bytes;
    size_t length;
} one_program;

static void run_program(const void *context) {
    const one_program *one = context;
    note_rule(one->p->verify(one->heap, one->bytes, one->length));
}

static bool fails(const property *p, const heap_api *heap, const uint8_t *bytes, size_t length) {
    return !in_child(run_program, &(one_program){p, heap, bytes, length}, true);
}

typedef struct many_programs {
    const property *p;
    const heap_api *heap;
    uint64_t first;
    unsigned cases;
} many_programs;

static void run_cases(const void *context) {
    const many_programs *many = context;
    uint8_t bytes[PROPERTY_ROOM];
    progress *note = shared_progress();
    for (unsigned i = 0; i < many->cases && note->rule[0] == 0; i++) {
        note->seed = many->first + i;
        size_t length = many->p->generate(bytes, note->seed);
        note_rule(many->p->verify(many->heap, bytes, length));
    }
}

/* A program to be made smaller. */
typedef struct shrinking {
    const property *p;
    const heap_api *heap;
    uint8_t *bytes;
    size_t length;
    unsigned tries;
} shrinking;

/* Takes over `candidate` when it still fails. */
static bool adopt(shrinking *s, const uint8_t *candidate, size_t length) {
    if (s->tries == 0)
        return false;
    s->tries--;
    if (!fails(s->p, s->heap, candidate, length))
        return false;
    memcpy(s->bytes, candidate, length);
    s->length = length;
    return true;
}

/* Leaves out runs of records, long ones first. */
static void drop_records(shrinking *s) {
    uint8_t candidate[PROPERTY_ROOM];
    for (size_t run = s->length / OPS_RECORD / 2; run > 0; run /= 2)
        for (size_t at = 0; at + run * OPS_RECORD <= s->length;) {
            size_t skip = run * OPS_RECORD;
            memcpy(candidate, s->bytes, at);
            memcpy(candidate + at, s->bytes + at + skip, s->length - at - skip);
            if (!adopt(s, candidate, s->length - skip))
                at += skip;
        }
}

static bool try_record(shrinking *s, size_t at, ops_record record) {
    uint8_t candidate[PROPERTY_ROOM];
    memcpy(candidate, s->bytes, s->length);
    ops_encode(record, candidate + at);
    if (memcmp(candidate, s->bytes, s->length) == 0)
        return false;
    return adopt(s, candidate, s->length);
}

/* Makes the numbers of a record smaller, and its operation simpler. */
static void simplify_record(shrinking *s, size_t at) {
    ops_record r = ops_decode(s->bytes + at), t;
    if (r.code == OPS_RECYCLE_ZEROED || r.code == OPS_BURST || r.code == OPS_SWEEP) {
        t = r;
        t.code = r.code == OPS_BURST ? OPS_MALLOC : r.code == OPS_SWEEP ? OPS_FREE : OPS_CALLOC;
        (void)try_record(s, at, t);
    }
    t = ops_decode(s->bytes + at);
    t.mod = 0;
    if (!try_record(s, at, t) && r.mod > 1) {
        t.mod = r.mod - 1;
        (void)try_record(s, at, t);
    }
    for (unsigned bit = 1u << 15; bit != 0; bit >>= 1) {
        t = ops_decode(s->bytes + at);
        if (t.arg & bit) {
            t.arg &= (uint16_t)~bit;
            (void)try_record(s, at, t);
        }
    }
}

/* Gives all records of one slot a lower number that no slot has. */
static void renumber(shrinking *s) {
    for (unsigned from = OPS_SLOTS; from-- > 0;) {
        uint8_t candidate[PROPERTY_ROOM];
        bool used[OPS_SLOTS] = {false};
        for (size_t at = 0; at + OPS_RECORD <= s->length; at += OPS_RECORD)
            used[s->bytes[at + 1]] = true;
        unsigned to = 0;
        while (to < from && used[to])
            to++;
        if (!used[from] || to == from)
            continue;
        memcpy(candidate, s->bytes, s->length);
        for (size_t at = 0; at + OPS_RECORD <= s->length; at += OPS_RECORD)
            if (candidate[at + 1] == from)
                candidate[at + 1] = (uint8_t)to;
        (void)adopt(s, candidate, s->length);
    }
}

size_t property_shrink(const property *p, const heap_api *heap, uint8_t *bytes, size_t length,
                       unsigned tries) {
    shrinking s = {p, heap, bytes, length, tries};
    size_t before;
    do {
        before = s.length;
        drop_records(&s);
        for (size_t at = 0; at + OPS_RECORD <= s.length; at += OPS_RECORD)
            simplify_record(&s, at);
        renumber(&s);
    } while (s.length < before && s.tries != 0);
    return s.length;
}

int property_check(const property *p, const heap_api *heap, uint64_t first, unsigned cases) {
    if (in_child(run_cases, &(many_programs){p, heap, first, cases}, false))
        return 0;
    uint8_t bytes[PROPERTY_ROOM];
    uint64_t seed = shared_progress()->seed;
    fprintf(stderr, "%s: \"%s\" does not hold for seed %llu: %s\n", heap->name, p->text,
            (unsigned long long)seed, shared_progress()->rule);
    size_t length = p->generate(bytes, seed);
    if (!fails(p, heap, bytes, length)) {
        fprintf(stderr, "the program does not fail alone: it needs those before it\n");
        return 1;
    }
    length = property_shrink(p, heap, bytes, length, TRIES);
    (void)fails(p, heap, bytes, length);
    fprintf(stderr, "smallest program, %zu records: %s\n", length / OPS_RECORD, shared_progress()->rule);
    ops_print_program(stderr, bytes, length);
    fprintf(stderr, "as records, for fuzz/ops_tool:\n");
    ops_print_records(stderr, bytes, length);
    return 1;
}
