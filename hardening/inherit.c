/* inherit.c: see inherit.h. */
#include "hardening/inherit.h"

#include "allocator/heap/large.h"
#include "allocator/heap/span.h"
#include "allocator/os/os.h"
#include "allocator/os/os_process.h"
#include "hardening/canary.h"

HAK_HIDDEN uint32_t hak_forks;
HAK_HIDDEN bool hak_inherit_unsure;
static unsigned process; /* process id */

void hak_inherit_start(void) {
    process = hak_os_pid();
}

bool hak_inherit_unseen(void) {
    return process != hak_os_pid();
}

/* Halves the range until each part is wholly mapped or wholly unmapped. */
void hak_inherit_fill(uintptr_t addr, size_t size) {
    if (size == 0 || hak_os_is_mapped(addr, size))
        return;
    if (hak_os_map_at(addr, size) == HAK_MAP_DONE)
        return;
    if (size <= hak_os_page)
        return; /* the OS refuses memory */
    size_t half = hak_align_up(size / 2, hak_os_page);
    hak_inherit_fill(addr, half);
    hak_inherit_fill(addr + half, size - half);
}

/* Leaves hollow granules hollow. */
static void fill_superslab(const hak_superslab *superslab) {
    for (unsigned i = 0, end; superslab->start != 0 && i < HAK_SUPERSLAB_GRANULES; i = end) {
        bool hollow = (superslab->hollow_mask >> i & 1) != 0;
        for (end = i + 1; end < HAK_SUPERSLAB_GRANULES && (superslab->hollow_mask >> end & 1) == hollow;)
            end++;
        if (!hollow)
            hak_inherit_fill(superslab->start + (size_t)i * HAK_GRANULE, (size_t)(end - i) * HAK_GRANULE);
    }
}

static void fill_slabs(const hak_region *region) {
    for (size_t at = 0; at < region->used; at += HAK_SUPERSLAB)
        fill_superslab(hak_region_record(region, region->base + at));
}

static void fill_spans(const hak_region *region) {
    const hak_span *span = (const hak_span *)region->records, *end = hak_span_end_of(region);
    for (; span < end && span->granules != 0 && span->granules <= (size_t)(end - span);
         span += span->granules)
        if (!span->hollow)
            hak_inherit_fill(hak_span_start(region, span), hak_span_bytes(span->granules));
}

/* If a fork in a signal handler has interrupted a change, the records do not say what is mapped. The
 * interrupted call goes on in the child, so a hole that records still call mapped must stay. */
static void fill_region(const hak_region *region) {
    bool is_slabs = region->kind == HAK_REGION_SLABS;
    if (hak_lock_is_taken(is_slabs ? &hak_superslab_lock : &hak_large_lock))
        return;
    if (is_slabs)
        fill_slabs(region);
    else
        fill_spans(region);
}

void hak_inherit_begin(void) {
    process = hak_os_pid();
    hak_forks++;
    hak_inherit_unsure |= !HAK_ALONE(); /* libc leaves this in a child as it was in the parent */
    for (unsigned i = 0; i < atomic_load(&hak_regions_used); i++) {
        if (hak_regions[i].size == 0)
            continue;
        hak_ledger[i].inherited = hak_regions[i].used;
        fill_region(&hak_regions[i]);
        if (hak_ledger[i].base == hak_ledger_first.base)
            hak_ledger_first.inherited = hak_regions[i].used;
    }
}

bool hak_inherited(uintptr_t addr) {
    const hak_ledger_region *ledger = hak_forks != 0 ? hak_ledger_of(addr) : NULL;
    return ledger != NULL && addr - ledger->base < ledger->inherited;
}

/* A program can only wipe whole pages of its own object, so only an object that covers the page from its start
 * to the end of the object can have lost its canary. */
HAK_PEEKS bool hak_inherit_wiped(const void *obj, size_t size, size_t room) {
    uintptr_t end = (uintptr_t)obj + size, page = hak_align_down(end, hak_os_page);
    if (hak_forks == 0 || end == page || (uintptr_t)obj >= page || !hak_inherited((uintptr_t)obj))
        return false;
    uint64_t right = hak_canary_at((void *)end);
    for (unsigned i = 0; i < hak_min(room, HAK_CANARY_BYTES); i++) {
        bool in_page = end + i - page < hak_os_page;
        if (((const unsigned char *)end)[i] != (in_page ? 0 : (unsigned char)(right >> (8 * i))))
            return false;
    }
    return true;
}
