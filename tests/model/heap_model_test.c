/* heap_model_test.c: random walks against the model, by kind of size. HAK_MODEL_SEED=N walks with that seed alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/model/heap_model.h"

static const heap_walk walks[] = {
    {"small", 1024, 150000, 512}, {"medium", 64 << 10, 30000, 256}, {"large", 8 << 20, 3000, 32},
    {"all", 1 << 20, 20000, 256}, {"few", 4096, 100000, 4},
};

static const uint64_t seeds[] = {1, 20, 300};

static void run(const heap_walk *walk, uint64_t seed) {
    printf("%s: seed %llu\n", walk->name, (unsigned long long)seed);
    fflush(stdout);
    assert_int_equal(heap_model_run(walk, seed), 0);
}

static void walk_as_asked(void **state) {
    const heap_walk *walk = *state;
    const char *asked = getenv("HAK_MODEL_SEED");
    if (asked) {
        run(walk, strtoull(asked, NULL, 0));
        return;
    }
    for (size_t i = 0; i < sizeof seeds / sizeof seeds[0]; i++)
        run(walk, seeds[i]);
}

#define WALK(text, index) {text, walk_as_asked, NULL, NULL, (void *)&walks[index]}

int main(void) {
    static const struct CMUnitTest tests[] = {
        WALK("a heap of small objects behaves as the model", 0),
        WALK("a heap of medium objects behaves as the model", 1),
        WALK("a heap of large objects behaves as the model", 2),
        WALK("a heap of all sizes behaves as the model", 3),
        WALK("a heap of few objects behaves as the model", 4),
    };
    return cmocka_run_group_tests_name("model", tests, NULL, NULL);
}
