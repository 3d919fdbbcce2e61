/* properties_test.c: every property on CASES programs; and the shrinker on a property that is false.
 * HAK_PROPERTY_SEED=N begins at another seed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "fuzz/mutator.h"
#include "tests/model/properties.h"

enum { CASES = 10000, SHRUNK_RECORDS_MAX = 2, SHRINK_TRIES = 2000 };

static void property_holds(void **state) {
    const property *p = *state;
    const char *seed = getenv("HAK_PROPERTY_SEED");
    uint64_t first = seed != NULL ? strtoull(seed, NULL, 0) : 1;
    assert_int_equal(property_check(p, &FUZZ_HEAP, first, p->dear != 0 ? CASES / p->dear : CASES), 0);
}

static size_t any_program(uint8_t bytes[PROPERTY_ROOM], uint64_t seed) {
    return mutator_generate(bytes, 200, seed);
}

/* False: programs may free two slots. */
static const char *frees_less_than_two_slots(const heap_api *heap, const uint8_t *bytes, size_t length) {
    unsigned frees = 0;
    (void)heap;
    for (size_t at = 0; at + OPS_RECORD <= length; at += OPS_RECORD)
        frees += ops_decode(bytes + at).code == OPS_FREE;
    return frees >= 2 ? "two frees" : NULL;
}

static void shrinking_leaves_what_matters(void **state) {
    (void)state;
    static const property wrong = {"a program frees at most once", any_program, frees_less_than_two_slots};
    uint8_t bytes[PROPERTY_ROOM];
    size_t length = wrong.generate(bytes, 7);
    assert_non_null(wrong.verify(&FUZZ_HEAP, bytes, length));
    length = property_shrink(&wrong, &FUZZ_HEAP, bytes, length, SHRINK_TRIES);
    assert_int_equal(length / OPS_RECORD, SHRUNK_RECORDS_MAX);
    for (size_t at = 0; at < length; at += OPS_RECORD) {
        ops_record r = ops_decode(bytes + at);
        assert_int_equal(r.code, OPS_FREE);
        assert_int_equal(r.arg | r.mod, 0);
    }
}

/* Usage: properties_test PART PARTS: each part has every PARTS-th property. */
int main(int argc, char **argv) {
    unsigned part = argc == 3 ? (unsigned)atoi(argv[1]) : 0, parts = argc == 3 ? (unsigned)atoi(argv[2]) : 1,
             count = 0;
    struct CMUnitTest tests[64] = {
        {"shrinking leaves what matters", shrinking_leaves_what_matters, NULL, NULL, NULL}};
    for (unsigned i = part; i < properties_count && parts != 0; i += parts)
        tests[++count] =
            (struct CMUnitTest){properties[i].text, property_holds, NULL, NULL, (void *)&properties[i]};
    return _cmocka_run_group_tests("properties", tests, count + 1, NULL, NULL);
}
