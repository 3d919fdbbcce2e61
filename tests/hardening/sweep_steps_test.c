/* sweep_steps_test.c: what the running sweep finds, and after how many steps: a thread takes one at each refill. */
#include "tests/hardening/rest.h"

#include "hardening/quarantine.h"
#include "hardening/sweep.h"

#include <stdlib.h>
#include <unistd.h>

enum { SIZE = 56, COUNT = 4000, TOKEN = 12345 };

static void steps(unsigned count) {
    for (unsigned i = 0; i < count; i++)
        hak_sweep_step(hak_guarded_mine);
}

static unsigned granules(void) {
    return (unsigned)(hak_region_find((uintptr_t)rest_make_slot(SIZE))->used >> HAK_GRANULE_SHIFT);
}

/* One round looks at every slot, eight at a step, but for each eighth step; where a slab ends, and in a granule without
 * one, a step ends, too. */
static void overflow_within_a_round(void *at) {
    static char *objs[COUNT];
    for (int i = 0; i < COUNT; i++)
        objs[i] = rest_make_slot(SIZE);
    unsigned round = COUNT / 8 + 2 * granules();
    steps(round); /* wherever the sweep was */
    objs[*(int *)at][SIZE] ^= 1;
    steps(round + round / 7 + 8);
}
static void all_within_a_round(void **state) {
    (void)state;
    for (int at = 0; at < COUNT; at += COUNT / 5)
        unit_expect_death(overflow_within_a_round, &at, "hakmem: heap overflow: sweep(");
}

/* Freed slots of the thread, whether they are of a partition or not. */
static void written(void *token) {
    char *obj;
    hak_place place;
    do
        obj = hak_malloc_token(SIZE, *(size_t *)token);
    while (!hak_ledger_find(obj, &place));
    hak_free(obj);
    obj[SIZE / 2] = 1;
    steps(2 * granules() + COUNT);
}
static void freed_ones(void **state) {
    (void)state;
    static const size_t tokens[] = {0, TOKEN};
    for (int i = 0; i < 2; i++)
        unit_expect_death(written, (void *)(uintptr_t)&tokens[i], "hakmem: write after free: sweep(");
}

/* Sampled objects are looked at in another way, so the program starts itself again without samples. */
int main(int argc, char **argv) {
    (void)argc;
    if (getenv("HAKMEM_SAMPLE_RATE") == NULL && setenv("HAKMEM_SAMPLE_RATE", "0", 1) == 0)
        execv("/proc/self/exe", argv);
    const struct CMUnitTest tests[] = {
        CASE("a round of the sweep has as many steps as an eighth of all slots", all_within_a_round),
        CASE("what was written to freed slots is found, also to those of partitions", freed_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
