/* tail.c: see tail.h. */
#include "allocator/heap/tail.h"

#include "allocator/os/os_process.h"
#include "allocator/policy.h"

enum {
    PART = 32,     /* a tail shorter than this part of its span stays mapped */
    MAPS_PART = 5, /* the part of the process's mappings that tails may use up */
};

static unsigned tails; /* unmapped tails now */
static unsigned most;  /* most unmapped tails; 0: not known yet */

void hak_tail_init(void) {
    tails = most = 0;
}

void hak_tail_keep(hak_span *span, size_t pages) {
    tails -= span->tail != 0 && pages == 0;
    span->tail = (uint16_t)pages;
}

bool hak_tail_fill(hak_region *region, hak_span *span, size_t end) {
    size_t from = hak_tail_start(span), size = span->tail * hak_os_page;
    uintptr_t start = hak_span_start(region, span);
    if (end <= from || size == 0)
        return true;
    if (hak_region_fill(region, start + from, size) != HAK_MAP_DONE)
        return false;
    from = hak_align_down(from, HAK_GRANULE);
    hak_policy_large_hollowed(region, start + from, hak_span_bytes(span->granules) - from);
    hak_tail_keep(span, 0);
    return true;
}

/* Unmaps the tail of one span. Returns bytes. */
static size_t cut(hak_region *region, hak_span *span) {
    uintptr_t start = hak_span_start(region, span);
    size_t size = hak_span_bytes(span->granules), end = hak_policy_large_end((void *)start, span->capacity);
    size_t pages = hak_min((size - end) / hak_os_page, UINT16_MAX), bytes = pages * hak_os_page;
    if (end == 0 || bytes < size / PART || !hak_region_hollow(region, start + size - bytes, bytes))
        return 0;
    span->tail = (uint16_t)pages;
    tails++;
    return bytes;
}

static size_t cut_region(hak_region *region) {
    size_t bytes = 0;
    if (region->body.reserved) /* memory there may get guards, which a commit does not remove */
        return 0;
    for (hak_span *span = (hak_span *)region->records; span < hak_span_end_of(region) && tails < most;
         span += span->granules)
        if (span->state == HAK_SPAN_LIVE && !span->hollow && span->tail == 0)
            bytes += cut(region, span);
    return bytes;
}

size_t hak_tail_cut_all(void) {
    size_t bytes = 0;
    if (most == 0)
        most = hak_os_maps_allowed() / MAPS_PART;
    hak_policy_large_settle(true);
    for (unsigned i = 0; i < atomic_load_explicit(&hak_regions_used, memory_order_acquire); i++)
        if (hak_regions[i].size != 0 && hak_region_is_large(&hak_regions[i]))
            bytes += cut_region(&hak_regions[i]);
    hak_policy_large_settle(false);
    return bytes;
}
