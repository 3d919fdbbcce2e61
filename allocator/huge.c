/* huge.c: see huge.h. */
#include "allocator/huge.h"

#include "allocator/os.h"
#include "allocator/os_process.h"
#include "allocator/span.h"

enum {
    /* The first look comes when what is in use was handed out so many times over. */
    FIRST_TURNS = 4,
    /* Of the pages of a huge page this part has to be resident: what is taken for it is at most three times that, and hot. Work h, whose
     * objects touch their ends only, has half the page faults without. */
    DENSE_PART = 4,
    /* Longer objects are no part of a run: they do not follow one another often. And so many huge pages are looked at in one look, some 2 ms. */
    LONG_SPAN = 32 * HAK_MIB >> HAK_GRANULE_SHIFT,
    LOOKS = 512,
    WINDOW = 64,  /* pages that one question is about */
    FAILURES = 8, /* in a row: there are no huge pages to be had, or the kernel is older */
};

static size_t turned, next_look; /* bytes */
static unsigned failures, looks;

void hak_huge_init(void) {
    turned = next_look = 0;
    failures = 0;
}

static size_t resident_pages(uintptr_t addr) {
    size_t count = 0, bytes = WINDOW * hak_os_page;
    for (size_t at = 0; at < HAK_SUPERSLAB; at += bytes)
        count += (size_t)__builtin_popcountll(
            hak_os_resident(addr + at, (unsigned)hak_min(WINDOW, (HAK_SUPERSLAB - at) / hak_os_page)));
    return count;
}

/* Huge pages in a run of spans that may be resident. */
static void look_at_run(uintptr_t from, uintptr_t to) {
    size_t pages = HAK_SUPERSLAB / hak_os_page;
    for (uintptr_t at = hak_align_up(from, HAK_SUPERSLAB);
         at + HAK_SUPERSLAB <= to && failures < FAILURES && looks != 0; at += HAK_SUPERSLAB) {
        looks--;
        size_t count = resident_pages(at);
        if (count >= pages / DENSE_PART && count < pages)
            failures = hak_os_collapse(at, HAK_SUPERSLAB) ? 0 : failures + 1;
    }
}

/* A free span whose pages have gone is no part of it: release.c believes that it has none. */
static void look_at_region(const hak_region *region) {
    const hak_span *span = (const hak_span *)region->records, *end = hak_span_end_of(region);
    uintptr_t from = region->base;
    for (; span < end; span += span->granules) {
        if ((span->state == HAK_SPAN_LIVE || span->dirty != 0) && span->granules <= LONG_SPAN)
            continue;
        look_at_run(from, hak_span_start(region, span));
        from = hak_span_start(region, span + span->granules);
    }
    look_at_run(from, region->base + region->used);
}

static HAK_COLD void look(void) {
    size_t used = 0;
    looks = LOOKS;
    for (unsigned i = 0; i < atomic_load_explicit(&hak_regions_used, memory_order_acquire); i++) {
        const hak_region *region = &hak_regions[i];
        if (region->size == 0 || region->kind != HAK_REGION_LARGE || region->used < hak_region_huge_from)
            continue;
        used += region->used;
        if (turned >= FIRST_TURNS * region->used && hak_os_resident_told())
            look_at_region(region);
    }
    next_look = hak_max(turned + turned / 2, hak_max(used, HAK_SUPERSLAB) * FIRST_TURNS);
}

void hak_huge_turned(size_t bytes) {
    turned += bytes;
    if (HAK_UNLIKELY(turned >= next_look) && failures < FAILURES && hak_region_huge_from != SIZE_MAX)
        look();
}
