/* cwe122_heap_overflow.c: writes past the end (CWE-122) of an object that is freed afterwards.
 * cwe122_overflow_found.c has the overflows that a free of the object itself cannot find. */
#include "misuse.h"

#include <stdio.h>
#include <unistd.h>
#include <wchar.h>

static void by_one(bool error, size_t size) {
    char *obj = take(size);
    fill(obj, 0, (ptrdiff_t)(size + error), 0x41);
    drop(obj);
}

static void by_one_zero(bool error, size_t size) {
    char *obj = take(size);
    fill(obj, 0, (ptrdiff_t)size, 0x41);
    if (error)
        put(obj, (ptrdiff_t)size, 0);
    drop(obj);
}

static void skipping_one(bool error, size_t size) {
    char *obj = take(size);
    if (error)
        put(obj, (ptrdiff_t)size + 1, 0x41);
    drop(obj);
}

static void by_zeros(bool error, size_t size) {
    char *obj = take(size);
    memset(hide(obj), 0, size + (error ? 8 : 0));
    drop(obj);
}

static void strcpy_one_too_long(bool error, size_t length) {
    char *obj = take(length + 1), *text = take(length + 2);
    memset(text, 'x', length + 2);
    text[length + error] = 0;
    strcpy(hide(obj), hide(text));
    drop(obj);
    drop(text);
}

static void strncat_and_its_nul(bool error, size_t size) {
    char *obj = take(size);
    obj[0] = 0;
    strncat(hide(obj), "0123456789abcdefghijklmnopqrstuvwxyz", size - !error);
    drop(obj);
}

static void sprintf_too_long(bool error, size_t arg) {
    char *obj = take(16);
    (void)arg;
    sprintf(hide(obj), "%d %s", 12345, error ? "and quite some more" : "and all");
    drop(obj);
}

static void wide_string(bool error, size_t arg) {
    wchar_t *obj = take(10 * sizeof *obj);
    (void)arg;
    wcscpy(hide(obj), error ? L"0123456789" : L"012345678");
    drop(obj);
}

static void memcpy_past(bool error, size_t excess) {
    static const char data[8192] = {1, 2, 3};
    char *obj = take(104);
    memcpy(hide(obj), data, 104 + (error ? excess : 0));
    drop(obj);
}

static void element_past(bool error, size_t count) {
    uint64_t *obj = take(count * sizeof *obj);
    for (size_t i = 0; i < count + error; i++)
        ((volatile uint64_t *)obj)[i] = 0x4242424242424242 + i;
    drop(obj);
}

static void of_calloc(bool error, size_t size) {
    char *obj = take_zeroed(3, size);
    if (error)
        put(obj, (ptrdiff_t)(3 * size), 0x41);
    drop(obj);
}

static void of_aligned(bool error, size_t alignment) {
    size_t size = alignment + alignment / 2;
    char *obj = take_aligned(alignment, size);
    if (error)
        put(obj, (ptrdiff_t)size, 0x41);
    drop(obj);
}

static void of_posix_memalign(bool error, size_t size) {
    void *obj = NULL;
    if (posix_memalign(&obj, 64, size))
        _exit(3);
    if (error)
        put(obj, (ptrdiff_t)size, 0);
    drop(obj);
}

static void after_shrink(bool error, size_t size) {
    char *obj = resize(take(size), size / 2);
    if (error)
        put(obj, (ptrdiff_t)size / 2, 0x41);
    drop(obj);
}

static void after_growth(bool error, size_t size) {
    char *obj = resize(take(size - 4), size);
    fill(obj, 0, (ptrdiff_t)(size + error), 0x41);
    drop(obj);
}

static void seen_by_realloc(bool error, size_t size) {
    char *obj = take(size);
    fill(obj, 0, (ptrdiff_t)(size + error), 0x41);
    resize(obj, 100 * size);
    _exit(0);
}

static void of_strdup(bool error, size_t arg) {
    char *text = strdup("seven b");
    (void)arg;
    strcat(text, error ? "y" : "");
    drop(text);
}

static void put_and_drop(void *obj) {
    put(obj, 40, 0x41);
    drop(obj);
}

static void in_another_thread(bool error, size_t arg) {
    (void)arg;
    in_thread(put_and_drop, take(error ? 40 : 41));
}

static void nothing_sized(bool error, size_t arg) {
    char *obj = take(arg);
    if (error)
        put(obj, 0, 0x41);
    drop(obj);
}

static void far_past(bool error, size_t distance) {
    char *obj = take(64);
    if (error)
        put(obj, (ptrdiff_t)distance, 0x41);
    drop(obj);
}

#define ROW(name, run, arg) {name, "heap overflow", "canary", SURE, run, arg}
static const misuse_case cases[] = {
    ROW("overflow_by_one_of_1", by_one, 1),
    ROW("overflow_by_one_of_15", by_one, 15),
    ROW("overflow_by_one_of_16", by_one, 16),
    ROW("overflow_by_one_of_24", by_one, 24),
    ROW("overflow_by_one_of_100", by_one, 100),
    ROW("overflow_by_one_of_1024", by_one, 1024),
    ROW("overflow_by_one_of_5000", by_one, 5000),
    ROW("overflow_by_one_of_40000", by_one, 40000),
    ROW("overflow_by_one_of_200000", by_one, 200000),
    ROW("overflow_by_one_of_1000001", by_one, 1000001),
    {"overflow_by_one_of_1_mib", "heap overflow|out-of-bounds access", "canary", SURE, by_one, 1 << 20},
    ROW("overflow_by_one_nul_of_24", by_one_zero, 24),
    ROW("overflow_by_one_nul_of_64", by_one_zero, 64),
    ROW("overflow_by_one_nul_of_1000", by_one_zero, 1000),
    ROW("overflow_by_one_nul_of_40000", by_one_zero, 40000),
    ROW("overflow_by_one_nul_of_1000001", by_one_zero, 1000001),
    ROW("overflow_skipping_the_first_byte", skipping_one, 40),
    ROW("overflow_by_eight_zeros", by_zeros, 48),
    ROW("overflow_strcpy", strcpy_one_too_long, 31),
    ROW("overflow_strcpy_long", strcpy_one_too_long, 2000),
    ROW("overflow_strncat_nul", strncat_and_its_nul, 20),
    ROW("overflow_sprintf", sprintf_too_long, 0),
    ROW("overflow_wide_string", wide_string, 0),
    ROW("overflow_memcpy_by_8", memcpy_past, 8),
    ROW("overflow_memcpy_by_200", memcpy_past, 200),
    ROW("overflow_memcpy_by_4000", memcpy_past, 4000),
    ROW("overflow_by_one_element_of_10", element_past, 10),
    ROW("overflow_by_one_element_of_1000", element_past, 1000),
    ROW("overflow_of_calloc", of_calloc, 21),
    ROW("overflow_of_aligned_64", of_aligned, 64),
    ROW("overflow_of_aligned_4096", of_aligned, 4096),
    ROW("overflow_of_posix_memalign_by_one_nul", of_posix_memalign, 130),
    ROW("overflow_after_realloc_shrank", after_shrink, 200),
    ROW("overflow_after_realloc_shrank_large", after_shrink, 2000002),
    ROW("overflow_after_realloc_grew", after_growth, 60),
    ROW("overflow_seen_by_realloc", seen_by_realloc, 50),
    ROW("overflow_of_strdup", of_strdup, 0),
    ROW("overflow_in_another_thread", in_another_thread, 0),
    {"overflow_of_nothing_sized", "out-of-bounds access|heap overflow", "guard", SURE, nothing_sized, 0},
    {"overflow_far_1000", "heap overflow|write after free|out-of-bounds access", "sample", CHANCE, far_past,
     1000},
    {"overflow_far_64_kib", "heap overflow|write after free|out-of-bounds access", "sample", CHANCE, far_past,
     65536},
};
MISUSE_GROUP(cwe122_heap_overflow, "122", cases);
