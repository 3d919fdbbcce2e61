/* tail_test.c: the memory behind objects goes when memory has run out, and comes back; no memory in use goes with
 * it. The tests use the public calls, so the variant's additions are there. */
#include "tests/unit/unit.h"

#include "allocator/heap/large.h"
#include "allocator/life/reclaim.h"
#include "allocator/os/os.h"
#include "allocator/os/os_process.h"
#include "allocator/pages/tag.h"
#include "allocator/policy.h"
#include "include/hakmem.h"

#include <errno.h>
#include <string.h>

enum { OBJECTS = 40, STEPS = 1500, SMALL = 200, SMALL_MOST = 20000 };

typedef struct object {
    unsigned char *at, mark;
    size_t size;
} object;

static object objects[OBJECTS];
static uint64_t seed;

static uint64_t draw(uint64_t below) {
    return unit_random(&seed) % below;
}

static void paint(object *it) {
    it->mark = (unsigned char)(1 + draw(255));
    memset(it->at, it->mark, it->size);
}

static void expect(const object *it, size_t size) {
    for (size_t i = 0; i < size; i += 509)
        assert_int_equal(it->at[i], it->mark);
    assert_int_equal(it->at[size - 1], it->mark);
}

static size_t draw_size(void) {
    return 256 * HAK_KIB + 1 + draw((uint64_t)1 << (12 + draw(10)));
}

static void make(object *it, size_t size) {
    it->size = size;
    it->at = hak_malloc(size);
    assert_non_null(it->at);
    paint(it);
}

static void end(object *it) {
    expect(it, it->size);
    hak_free(it->at);
    it->at = NULL;
}

static void cut(void) {
    (void)hak_reclaim_memory(1, HAK_RECLAIM_EDGES);
    hak_large_check();
}

static void change(object *it) {
    size_t size = draw_size(), kept = size < it->size ? size : it->size;
    it->at = hak_realloc(it->at, size);
    assert_non_null(it->at);
    expect(it, kept);
    it->size = size;
    paint(it);
}

static void walk(void **state) {
    (void)state;
    for (int step = 0; step < STEPS; step++) {
        object *it = &objects[draw(OBJECTS)];
        if (it->at == NULL)
            make(it, draw_size());
        else if (draw(2) == 0)
            end(it);
        else
            change(it);
        if (draw(8) == 0)
            cut();
        hak_large_check();
        if (draw(100) == 0) /* all free memory goes, and comes back */
            for (int how = 0; how < HAK_RECLAIMS; how++)
                (void)hak_reclaim_memory(1, (hak_reclaim)how);
    }
    for (int i = 0; i < OBJECTS; i++)
        if (objects[i].at != NULL)
            end(&objects[i]);
    hak_large_check();
}

/* Bytes mapped from the object's first page to the next object. */
static size_t mapped_at(const object *it) {
    size_t bytes = 0;
    while (hak_os_is_mapped((uintptr_t)it->at + bytes, hak_os_page))
        bytes += hak_os_page;
    return bytes;
}

static void only_the_object_is_mapped(void **state) {
    (void)state;
    size_t size = 263000, pages = hak_align_up(size, hak_os_page);
    for (int i = 0; i < OBJECTS; i++)
        make(&objects[i], size);
    if (hak_region_find((uintptr_t)objects[0].at)->body.reserved)
        skip();
    size_t before = hak_region_mapped;
    cut();
    assert_true(before - hak_region_mapped >= OBJECTS * (HAK_GRANULE / 2));
    for (int i = 0; i < OBJECTS; i++) {
        assert_int_equal(mapped_at(&objects[i]), pages);
        expect(&objects[i], size);
    }
    before = hak_region_mapped;
    cut();
    assert_int_equal(before, hak_region_mapped);
    /* It grows in place or moves, and never into unmapped memory. */
    for (int i = 0; i < OBJECTS; i++) {
        objects[i].at = hak_realloc(objects[i].at, size + 20000);
        assert_non_null(objects[i].at);
        expect(&objects[i], size);
        objects[i].size = size + 20000;
        paint(&objects[i]);
        end(&objects[i]);
    }
    hak_large_check();
}

/* An object grows in place into memory that had gone, and shrinks again: that memory goes a second time. */
static void what_came_back_goes_again(void **state) {
    (void)state;
    size_t size = 263000, pages = hak_align_up(size, hak_os_page);
    object it;
    make(&it, size);
    if (hak_region_find((uintptr_t)it.at)->body.reserved)
        skip();
    for (int round = 0; round < 3; round++) {
        cut();
        assert_int_equal(mapped_at(&it), pages);
        assert_ptr_equal(hak_realloc(it.at, size + 20000), it.at);
        expect(&it, size);
        it.size = size + 20000;
        paint(&it);
        assert_ptr_equal(hak_realloc(it.at, size), it.at);
        it.size = size;
    }
    end(&it);
}

/* The rest is unmapped at once; no check may look there for the former end. */
static void a_very_large_one_shrinks(void **state) {
    (void)state;
    cut(); /* memory is scarce from now on */
    for (int how = 0; how < HAK_RECLAIMS; how++)
        (void)hak_reclaim_memory(1, (hak_reclaim)how);
    object it;
    make(&it, 40 * HAK_MIB + 100);
    it.at = hak_realloc(it.at, HAK_MIB);
    assert_non_null(it.at);
    expect(&it, HAK_MIB);
    it.size = HAK_MIB;
    end(&it);
    hak_large_check();
}

/* NULL: the object is a sampled one. */
static const hak_slab *slab_of(void *obj) {
    return hak_policy_owns(obj) ? NULL : hak_slab_find((uintptr_t)obj, hak_tag_of(obj));
}

/* Every call of the OS fails: mapped memory must do. */
static void guards_become_slots(void **state) {
    (void)state;
    if (!HAK_POLICY_CLASS_BOUND || hak_policy_slab_guard() == 0)
        skip();
    static unsigned char *all[SMALL_MOST];
    unsigned count = 0, longer = 0;
    for (; count < SMALL_MOST / 2; count++)
        assert_non_null(all[count] = hak_malloc(SMALL));
    (void)hak_os_fail_at(1 | HAK_OS_FAIL_ON);
    for (; count < SMALL_MOST; count++)
        if ((all[count] = hak_malloc(SMALL)) == NULL)
            break;
    assert_true(count < SMALL_MOST && errno == ENOMEM);
    for (unsigned i = 0; i < count; i++)
        memset(all[i], (int)i, SMALL);
    for (unsigned i = 0; i < count; i++) {
        const hak_slab *slab = slab_of(all[i]);
        assert_int_equal(all[i][SMALL - 1], (unsigned char)i);
        longer += slab != NULL && slab->slots > hak_classes[slab->cls].slots;
    }
    assert_true(longer > count / 2);
    for (unsigned i = 0; i < count; i++)
        hak_free(all[i]);
    (void)hak_os_fail_at(0);
    for (int how = 0; how < HAK_RECLAIMS; how++)
        (void)hak_reclaim_memory(1, (hak_reclaim)how);
    hak_superslab_check();
    for (unsigned i = 0; i < SMALL_MOST / 2; i++) {
        assert_non_null(all[i] = hak_malloc(SMALL));
        const hak_slab *slab = slab_of(all[i]);
        assert_true(slab == NULL || slab->slots == hak_classes[slab->cls].slots);
        memset(all[i], 1, SMALL);
    }
    for (unsigned i = 0; i < SMALL_MOST / 2; i++)
        hak_free(all[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE("objects stay whole while tails go and come back", walk),
        CASE("when memory has run out nothing behind an object is mapped", only_the_object_is_mapped),
        CASE("what came back behind an object goes again", what_came_back_goes_again),
        CASE("a very large object shrinks where memory is scarce", a_very_large_one_shrinks),
        CASE("when nothing else helps slabs have slots in the place of their guards", guards_become_slots),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
