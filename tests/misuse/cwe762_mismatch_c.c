/* cwe762_mismatch_c.c: C23's free_sized and free_aligned_sized with wrong values (CWE-762). */
#include "misuse.h"

static void sized_more(bool error, size_t excess) {
    drop_sized(take(100), error ? 100 + excess : 100);
}

static void sized_less(bool error, size_t lack) {
    drop_sized(take(100), error ? 100 - lack : 100);
}

static void sized_zero(bool error, size_t size) {
    drop_sized(take(size), error ? 0 : size);
}

static void sized_large(bool error, size_t size) {
    drop_sized(take(size), size + error);
}

static void sized_after_realloc(bool error, size_t size) {
    drop_sized(resize(take(size), size + 20), error ? size : size + 20);
}

static void sized_of_calloc(bool error, size_t size) {
    drop_sized(take_zeroed(5, size), error ? size : 5 * size);
}

static void aligned_wrong_size(bool error, size_t alignment) {
    drop_aligned_sized(take_aligned(alignment, 2 * alignment), alignment, (2 + (size_t)error) * alignment);
}

static void aligned_less(bool error, size_t alignment) {
    drop_aligned_sized(take_aligned(alignment, 3 * alignment), error ? alignment / 2 : alignment,
                       3 * alignment);
}

static void aligned_more(bool error, size_t alignment) {
    drop_aligned_sized(take_aligned(alignment, 4 * alignment), error ? 2 * alignment : alignment,
                       4 * alignment);
}

static void aligned_of_plain(bool error, size_t size) {
    if (error)
        drop_aligned_sized(take(size), 64, size);
    else
        drop_aligned_sized(take_aligned(64, size), 64, size);
}

static void sized_of_aligned(bool error, size_t size) {
    if (error)
        drop_sized(take_aligned(64, size), size);
    else
        drop_sized(take(size), size);
}

#define SIZE(name, run, arg)  {name, "size mismatch", "size", SURE, run, arg}
#define ALIGN(name, run, arg) {name, "alignment mismatch|family mismatch", "alignment", SURE, run, arg}
static const misuse_case cases[] = {
    SIZE("free_sized_one_more", sized_more, 1),
    SIZE("free_sized_twice_as_much", sized_more, 100),
    SIZE("free_sized_one_less", sized_less, 1),
    SIZE("free_sized_zero", sized_zero, 100),
    SIZE("free_sized_large_one_more", sized_large, 1 << 20),
    SIZE("free_sized_before_realloc", sized_after_realloc, 100),
    SIZE("free_sized_of_calloc_one_element", sized_of_calloc, 24),
    SIZE("free_aligned_sized_wrong_size", aligned_wrong_size, 64),
    ALIGN("free_aligned_sized_less_alignment", aligned_less, 64),
    ALIGN("free_aligned_sized_more_alignment", aligned_more, 64),
    ALIGN("free_aligned_sized_more_alignment_4096", aligned_more, 4096),
    ALIGN("free_aligned_sized_of_malloc", aligned_of_plain, 128),
    ALIGN("free_sized_of_aligned_alloc", sized_of_aligned, 128),
};
MISUSE_GROUP(cwe762_mismatch_c, "762", cases);
