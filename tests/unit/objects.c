/* objects.c: see objects.h. */
#include "tests/unit/objects.h"

#include "allocator/heap/large.h"
#include "allocator/os/os.h"

static uint64_t marks;

void object_paint(object *it) {
    it->mark = (unsigned char)unit_random(&marks);
    for (size_t i = 0; i < it->size; i += 4096)
        it->at[i] = it->mark;
    it->at[it->size - 1] = it->mark;
}

void object_expect(const object *it, size_t size) {
    for (size_t i = 0; i < size; i += 4096)
        assert_int_equal(it->at[i], it->mark);
}

void object_take(object *it, size_t size, size_t align) {
    bool zeroed;
    it->at = hak_large_take(size, align, &zeroed, &it->capacity);
    assert_non_null(it->at);
    it->size = size;
    assert_int_equal((uintptr_t)it->at % align, 0);
    assert_true(it->capacity >= size && it->capacity < size + hak_os_page);
    assert_int_equal(hak_large_capacity(it->at), it->capacity);
    for (size_t i = 0; zeroed && i < size; i += 4096)
        assert_int_equal(it->at[i], 0);
    object_paint(it);
}

void object_give(object *it) {
    object_expect(it, it->size);
    assert_true(hak_large_give(it->at));
    assert_int_equal(hak_large_capacity(it->at), 0);
    it->at = NULL;
}

void object_resize(object *it, size_t size) {
    size_t capacity;
    if (!hak_large_resize(it->at, size, &capacity)) {
        assert_int_equal(hak_large_capacity(it->at), it->capacity);
        return;
    }
    assert_true(capacity >= size && capacity == hak_large_capacity(it->at));
    object_expect(it, size < it->size ? size : it->size);
    it->size = size;
    it->capacity = capacity;
    object_paint(it);
}
