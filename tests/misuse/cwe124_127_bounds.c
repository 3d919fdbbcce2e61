/* cwe124_127_bounds.c: writes before the start (CWE-124), reads past the end (CWE-126) and before the start
 * (CWE-127). A read leaves no trace, so only guards find one: always beside large objects, and beside small ones
 * when the object is sampled. The table states which reads are found by chance. */
#include "misuse.h"

static void *kept[64];

static void write_before(bool error, size_t distance) {
    char *obj = take(64);
    if (error)
        put(obj, -(ptrdiff_t)distance, 0x41);
    drop(obj);
}

/* The byte before the object belongs to the end of a live object's slot, with a canary of its own. */
static void write_before_among_live(bool error, size_t size) {
    take_many(kept, 64, size);
    misuse_pair near = closest(kept, 64);
    if (error)
        put(kept[near.high], -1, 0x41);
    drop_many(kept, 64);
}

static void fill_before(bool error, size_t length) {
    char *obj = take(48);
    if (error)
        fill(obj, -(ptrdiff_t)length, 0, 0x41);
    drop(obj);
}

static void negative_index(bool error, size_t count) {
    int32_t *obj = take(count * sizeof *obj);
    volatile ptrdiff_t at = error ? -1 : 0;
    ((volatile int32_t *)obj)[at] = 0x42424242;
    drop(obj);
}

static void write_before_large(bool error, size_t size) {
    char *obj = take(size);
    if (error)
        put(obj, -1, 0x41);
    drop(obj);
}

static void write_before_aligned(bool error, size_t alignment) {
    char *obj = take_aligned(alignment, alignment);
    if (error)
        put(obj, -1, 0x41);
    drop(obj);
}

static void trim_runs_past_the_start(bool error, size_t size) {
    char *text = take(size);
    memset(text, ' ', size);
    for (ptrdiff_t end = (ptrdiff_t)size - 1; end >= (error ? -8 : 0); end--)
        put(text, end, 1);
    drop(text);
}

static void read_past(bool error, size_t distance) {
    char *obj = take(64);
    get(obj, error ? 63 + (ptrdiff_t)distance : 63);
    drop(obj);
}

/* The byte after the object may share its last page; the page after that is a guard. */
static void read_past_large(bool error, size_t size) {
    char *obj = take(size);
    get(obj, (ptrdiff_t)(size - !error));
    drop(obj);
}

static void read_page_past_large(bool error, size_t size) {
    char *obj = take(size);
    get(obj, (ptrdiff_t)(error ? size + 4096 : size - 1));
    drop(obj);
}

static void no_terminator(bool error, size_t size) {
    char *text = take(size);
    memset(text, 'x', size);
    text[size - 1] = error ? 'x' : 0;
    volatile size_t length = strlen(hide(text));
    (void)length;
    drop(text);
}

/* A length that the other side chose, as in CVE-2014-0160. */
static void echo(bool error, size_t claimed) {
    char *message = take(18), *reply = take(claimed);
    memset(message, 'm', 18);
    memcpy(hide(reply), hide(message), error ? claimed : 18);
    drop(reply);
    drop(message);
}

static void compare_past(bool error, size_t size) {
    char *a = take(size), *b = take(4 * size);
    memset(a, 7, size);
    memset(b, 7, 4 * size);
    volatile int order = memcmp(hide(a), hide(b), error ? 4 * size : size);
    (void)order;
    drop(a);
    drop(b);
}

static void read_before(bool error, size_t distance) {
    char *obj = take(64);
    get(obj, error ? -(ptrdiff_t)distance : 0);
    drop(obj);
}

static void read_before_large(bool error, size_t size) {
    char *obj = take(size);
    get(obj, -(ptrdiff_t)error);
    drop(obj);
}

#define UNDER                 "heap underflow|heap overflow|write after free|out-of-bounds access"
#define WRITE(name, run, arg) {name, UNDER, "sweep", SURE, run, arg}
static const misuse_case underwrite[] = {
    WRITE("underwrite_by_1", write_before, 1),
    WRITE("underwrite_at_8", write_before, 8),
    WRITE("underwrite_at_16", write_before, 16),
    WRITE("underwrite_at_64", write_before, 64),
    {"underwrite_at_5000", UNDER, "sample", CHANCE, write_before, 5000},
    WRITE("underwrite_among_live_56", write_before_among_live, 56),
    WRITE("underwrite_among_live_64", write_before_among_live, 64),
    WRITE("underwrite_among_live_1000", write_before_among_live, 1000),
    WRITE("underwrite_16_bytes", fill_before, 16),
    WRITE("underwrite_400_bytes", fill_before, 400),
    WRITE("underwrite_negative_index", negative_index, 20),
    WRITE("underwrite_negative_index_medium", negative_index, 5000),
    {"underwrite_large", "out-of-bounds access", "guard", SURE, write_before_large, 1 << 20},
    WRITE("underwrite_aligned_64", write_before_aligned, 64),
    WRITE("underwrite_aligned_4096", write_before_aligned, 4096),
    WRITE("underwrite_trim_runs_past_the_start", trim_runs_past_the_start, 32),
};
MISUSE_GROUP(cwe124_underwrite, "124", underwrite);

#define READ(name, run, arg)    {name, "out-of-bounds access", "sample", SAMPLED, run, arg}
#define GUARDED(name, run, arg) {name, "out-of-bounds access", "guard", SURE, run, arg}
static const misuse_case overread[] = {
    READ("overread_by_1", read_past, 1),
    READ("overread_at_8", read_past, 8),
    READ("overread_at_64", read_past, 64),
    READ("overread_at_5000", read_past, 5000),
    READ("overread_by_1_large", read_past_large, 1 << 20),
    GUARDED("overread_page_past_large", read_page_past_large, 1 << 20),
    GUARDED("overread_page_past_huge", read_page_past_large, 64 << 20),
    READ("overread_no_terminator", no_terminator, 32),
    READ("overread_echo_300", echo, 300),
    READ("overread_echo_64_kib", echo, 65535),
    GUARDED("overread_echo_4_mib", echo, 4 << 20),
    READ("overread_compare", compare_past, 24),
};
MISUSE_GROUP(cwe126_overread, "126", overread);

static const misuse_case underread[] = {
    READ("underread_by_1", read_before, 1),
    READ("underread_at_8", read_before, 8),
    READ("underread_at_64", read_before, 64),
    READ("underread_at_5000", read_before, 5000),
    GUARDED("underread_large", read_before_large, 1 << 20),
    GUARDED("underread_huge", read_before_large, 64 << 20),
};
MISUSE_GROUP(cwe127_underread, "127", underread);
