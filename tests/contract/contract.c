/* contract.c: the table of sizes and the byte patterns of the contract tests. */
#include "tests/contract/contract.h"

#include <string.h>

static contract_sizes known;

static void add(size_t size, size_t limit) {
    if (size <= limit && known.count < CONTRACT_SIZES_MAX &&
        (known.count == 0 || size > known.size[known.count - 1]))
        known.size[known.count++] = size;
}

/* Where the class of `size` ends: at its usable size, or at the next eighth of a power of two. */
static size_t boundary_at(size_t size) {
    size_t eighth = (size_t)1 << (63 - __builtin_clzl(size));
    eighth = eighth >= 128 ? eighth / 8 : 16;
    size_t step = (size + eighth) & ~(eighth - 1);
    void *obj = hak_malloc(size);
    size_t usable = hak_usable_size(obj);
    hak_free(obj);
    return usable > size && usable < step ? usable : step;
}

const contract_sizes *contract_sizes_to(size_t limit) {
    static size_t computed_for;
    if (computed_for == limit && known.count > 0)
        return &known;
    known.count = 0;
    for (size_t size = 0; size <= 130; size++)
        add(size, limit);
    for (size_t edge = 128; edge <= limit; edge = boundary_at(edge)) {
        add(edge - 1, limit);
        add(edge, limit);
        add(edge + 1, limit);
    }
    computed_for = limit;
    return &known;
}

size_t contract_hide(size_t value) {
    volatile size_t hidden = value;
    return hidden;
}

/* The pattern has no zero byte, and its period is no power of two: so a shifted copy does not match. */
enum { PERIOD = 251, ROW = 16 * PERIOD };

static const unsigned char *pattern(unsigned seed) {
    static unsigned char row[PERIOD + ROW];
    if (row[0] == 0)
        for (unsigned i = 0; i < sizeof row; i++)
            row[i] = (unsigned char)(1 + i % PERIOD);
    return row + seed % PERIOD;
}

void contract_fill(void *obj, size_t size, unsigned seed) {
    unsigned char *bytes = obj;
    for (size_t i = 0; i < size; i += ROW)
        memcpy(bytes + i, pattern(seed), size - i < ROW ? size - i : ROW);
}

int contract_holds(const void *obj, size_t size, unsigned seed) {
    const unsigned char *bytes = obj;
    for (size_t i = 0; i < size; i += ROW)
        if (memcmp(bytes + i, pattern(seed), size - i < ROW ? size - i : ROW) != 0)
            return 0;
    return 1;
}

int contract_is_zero(const void *obj, size_t size) {
    const unsigned char *bytes = obj;
    return size == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0);
}
