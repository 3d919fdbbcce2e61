/* exit_budget_test.c: how much the sweep at exit looks at: what is damaged lies in the last place that it reaches, or
 * behind that. The program runs again for each case, because a forked child looks at less. */
#include "tests/unit/unit.h"

#include "hardening/inherit.h"
#include "hardening/ledger.h"
#include "hardening/quarantine.h"
#include "hardening/sweep.h"
#include "include/hakmem.h"
#include "tests/hardening/again.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SIZE = 1000, MOST = 1 << 18, FREED = 20000, LARGES = 600 };
static char *objs[MOST];

/* Makes and touches so many MiB. */
static void make(size_t mib) {
    for (size_t i = 0; i < mib * HAK_MIB / SIZE; i++)
        objs[i] = memset(hak_malloc(SIZE), 1, SIZE);
}

/* Writes past the end of the object with the lowest address from `least` on, or with the highest one. */
static void damage(size_t count, uintptr_t least, bool lowest) {
    size_t found = count;
    for (size_t i = 0; i < count; i++)
        if ((uintptr_t)objs[i] >= least &&
            (found == count || (lowest ? objs[i] < objs[found] : objs[i] > objs[found])))
            found = i;
    if (found < count)
        objs[found][SIZE] ^= 1;
}

/* The last of 100 MiB in slabs. */
static void in_100_mib(void) {
    make(100);
    damage(100 * HAK_MIB / SIZE, 0, false);
    hak_sweep_all();
}

/* The slots that were freed last of 20,000. */
static void in_the_ring(void) {
    enum { ANOTHER = 77 };
    hak_place place;
    for (int i = 0; i < FREED; i++)
        objs[i] = hak_malloc(64);
    for (int i = 0; i < FREED; i++)
        hak_free(objs[i]);
    const hak_ring *ring = &hak_guarded_mine->rings[hak_class_of(64 + 8)];
    if (ring->in - ring->slots < FREED / 2 || !hak_ledger_find(ring->in[-1], &place))
        return;
    hak_record_store(place.record, hak_record_freed(ANOTHER, hak_record_load(place.record)));
    hak_sweep_all();
}

/* Large objects that are not touched, with 600 MiB of addresses. */
static void among_large_ones(void) {
    char *highest = NULL;
    for (int i = 0; i < LARGES; i++) {
        char *obj = hak_malloc(HAK_MIB + 1);
        highest = obj > highest ? obj : highest;
    }
    highest[HAK_MIB + 1] ^= 1;
    hak_sweep_all();
}

/* In a child: what it has made itself comes first, and then 2 MiB in all. */
static bool is_new;
static void in_child(void) {
    if (is_new) {
        uintptr_t own = hak_ledger_first.base + hak_ledger_first.inherited;
        make(8);
        damage(8 * HAK_MIB / SIZE, own, true);
    } else
        damage(16 * HAK_MIB / SIZE, 0, false);
    hak_sweep_all();
}
static void of_a_child(void) {
    make(16);
    pid_t child = fork();
    if (child == 0) {
        in_child();
        _exit(0);
    }
    int status;
    (void)waitpid(child, &status, 0);
}
static void new_of_a_child(void) {
    is_new = true;
    of_a_child();
}

static const struct {
    const char *name;
    void (*body)(void);
    const char *said; /* on stderr; NULL: nothing */
} cases[] = {
    {"100 MiB", in_100_mib, "hakmem: heap overflow: exit("},
    {"rings", in_the_ring, "hakmem: double free: exit("},
    {"large", among_large_ones, "hakmem: heap overflow: exit("},
    {"new", new_of_a_child, "hakmem: heap overflow: exit("},
    {"inherited", of_a_child, NULL},
};
enum { CASES = sizeof cases / sizeof cases[0] };

static void each(void **state) {
    (void)state;
    for (unsigned i = 0; i < CASES; i++) {
        char text[4096];
        int status = again_said(cases[i].name, NULL, "0", 1, text, sizeof text);
        if (cases[i].said == NULL ? text[0] != 0 : strstr(text, cases[i].said) == NULL)
            fail_msg("%s: status %#x and \"%s\"", cases[i].name, status, text);
    }
}

int main(int argc, char **argv) {
    for (unsigned i = 0; argc == 2 && i < CASES; i++)
        if (strcmp(argv[1], cases[i].name) == 0) {
            cases[i].body();
            return 0;
        }
    const struct CMUnitTest tests[] = {
        CASE("the sweep at exit looks at 128 MiB, all rings and many large objects; a child at what is new",
             each),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
