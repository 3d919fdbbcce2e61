/* marks.c: see marks.h. */
#include "hardening/marks.h"

#include "allocator/os/os.h"

enum { GROUP = 64, WORD = 64 }; /* granules per mark, marks per word */

static _Atomic uint64_t *word_of(const hak_ledger_region *ledger, size_t granule) {
    return (_Atomic uint64_t *)ledger->marks.start + granule / GROUP / WORD;
}
static uint64_t bit_of(size_t granule) {
    return (uint64_t)1 << granule / GROUP % WORD;
}

size_t hak_marks_bytes(size_t size) {
    return hak_align_up((size >> HAK_GRANULE_SHIFT) / GROUP / 8 + sizeof(uint64_t), hak_os_page);
}

/* Does not write marks that are set already, as most are. */
void hak_marks_set(const hak_ledger_region *ledger, size_t from, size_t end) {
    for (size_t at = from; at < end; at = hak_align_down(at, GROUP) + GROUP)
        if ((atomic_load_explicit(word_of(ledger, at), memory_order_relaxed) & bit_of(at)) == 0)
            atomic_fetch_or_explicit(word_of(ledger, at), bit_of(at), memory_order_relaxed);
}

void hak_marks_clear(const hak_ledger_region *ledger, size_t from, size_t end) {
    for (size_t at = hak_marks_next(ledger, hak_align_up(from, GROUP), end); at + GROUP <= end;
         at = hak_marks_next(ledger, at + GROUP, end))
        atomic_fetch_and_explicit(word_of(ledger, at), ~bit_of(at), memory_order_relaxed);
}

size_t hak_marks_next(const hak_ledger_region *ledger, size_t at, size_t end) {
    while (at < end) {
        uint64_t left = atomic_load_explicit(word_of(ledger, at), memory_order_relaxed) & ~(bit_of(at) - 1);
        size_t first = hak_align_down(at, GROUP * WORD);
        if (left != 0)
            return hak_min(end, hak_max(at, first + hak_lowest_bit(left) * GROUP));
        at = first + GROUP * WORD;
    }
    return end;
}
