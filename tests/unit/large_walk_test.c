/* large_walk_test.c: large objects at random, under every release policy; the walker runs after every step. */
#include "tests/unit/objects.h"

#include "allocator/heap/large.h"
#include "allocator/pages/release.h"

#include <string.h>

enum { OBJECTS = 40, STEPS = 1000 };

static uint64_t seed;
static uint64_t draw(uint64_t below) {
    return unit_random(&seed) % below;
}

static size_t draw_size(void) {
    return 256 * HAK_KIB + 1 + draw((uint64_t)1 << (12 + draw(10)));
}

static void step(object *it) {
    if (it->at == NULL)
        object_take(it, draw_size(), draw(4) != 0 ? 16 : (size_t)16 << draw(18));
    else if (draw(3) == 0)
        object_resize(it, draw_size());
    else
        object_give(it);
    hak_large_check();
}

static void walk_with(bool lean, hak_decommit decommit, size_t target) {
    static object objects[OBJECTS];
    memset(objects, 0, sizeof objects);
    seed = 11;
    hak_release_init(lean, decommit, target);
    size_t live = 0;
    for (int i = 0; i < STEPS; i++) {
        step(&objects[draw(OBJECTS)]);
        if (i % 97 == 0)
            (void)hak_large_purge(draw(2) * 8 * HAK_MIB);
    }
    for (int i = 0; i < OBJECTS; i++)
        live += objects[i].at != NULL ? objects[i].capacity : 0;
    assert_int_equal(hak_release_large_live, live);
    for (int i = 0; i < OBJECTS; i++)
        if (objects[i].at != NULL)
            object_give(&objects[i]);
    hak_large_check();
    assert_int_equal(hak_release_large_live, 0);
    assert_int_equal(hak_large_count, 0);
    (void)hak_large_purge(0);
    hak_large_check();
    assert_int_equal(hak_release_large_dirty, 0);
}

static void random_walk(void **state) {
    (void)state;
    walk_with(true, HAK_DECOMMIT_OFF, 0);
}
static void random_walk_lazy(void **state) {
    (void)state;
    walk_with(true, HAK_DECOMMIT_FREE, HAK_MIB);
}
static void random_walk_now(void **state) {
    (void)state;
    walk_with(true, HAK_DECOMMIT_DONTNEED, HAK_MIB);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE("objects taken, resized and given at random keep their contents", random_walk),
        CASE("the same, where free memory goes back lazily", random_walk_lazy),
        CASE("the same, where free memory goes back at once", random_walk_now),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
