/* huge.c: see huge.h. */
#include "allocator/heap/huge.h"

#include "allocator/heap/span.h"
#include "allocator/os/os.h"
#include "allocator/os/os_process.h"

enum {
    /* The first look comes when the memory in use has been handed out so many times over; the next one after
     * half as much again. */
    FIRST_TURNS = 1,
    /* This part of a huge page must be resident. Turning it into a huge page then adds at most three times
     * that, in memory that is hot. */
    DENSE_PART = 4,
    /* While the resident part grows by a quarter from look to look, this part suffices: the memory will be
     * dense, and huge pages save the page faults on the way (a third of those of workload h). Objects of which
     * only the start is touched stay below, however many there are. */
    GROWING_PART = 8,
    /* Longer spans are no part of a run, because they seldom follow one another. LOOKS is the most huge pages
     * that one look examines, about 2 ms. */
    LONG_SPAN = 32 * HAK_MIB >> HAK_GRANULE_SHIFT,
    LOOKS = 512,
    FAILURES =
        8, /* failures in a row after which it stops: no huge pages are free, or the kernel is too old */
};

static size_t turned, next_look; /* bytes */
static unsigned failures, looks;

/* In the present look: `windows` places for a huge page that were none yet, and `sum` resident pages in them;
 * the same for places that stayed as they were. mean_left: the mean of the latter in the look before. growing:
 * it grew by a quarter. */
static size_t windows, sum, windows_left, sum_left, mean_left;
static bool growing;

void hak_huge_init(void) {
    turned = next_look = mean_left = 0;
    failures = 0;
    growing = false;
}

/* Where memory begins with small pages (region.c), its mark forbids huge pages. So it is lifted, for this moment only:
 * a part that is purged later gets small pages again, as it does elsewhere. */
static bool collapse(uintptr_t at) {
    bool marked = hak_os_huge_unasked();
    if (marked)
        hak_os_huge(at, HAK_SUPERSLAB);
    bool done = hak_os_collapse(at, HAK_SUPERSLAB);
    if (marked)
        hak_os_not_huge(at, HAK_SUPERSLAB);
    return done;
}

/* Looks at each place for a huge page in a run of spans that may be resident. */
static void look_at_run(uintptr_t from, uintptr_t to, size_t wanted) {
    size_t pages = HAK_SUPERSLAB / hak_os_page;
    for (uintptr_t at = hak_align_up(from, HAK_SUPERSLAB);
         at + HAK_SUPERSLAB <= to && failures < FAILURES && looks != 0; at += HAK_SUPERSLAB) {
        looks--;
        size_t count = hak_os_resident_count(at, HAK_SUPERSLAB);
        if (count == pages)
            continue;
        sum += count;
        windows++;
        if (count >= wanted) {
            failures = collapse(at) ? 0 : failures + 1;
            continue;
        }
        sum_left += count;
        windows_left++;
    }
}

/* Free spans without resident pages are no part of a run: release.c relies on their having none. */
static void look_at_region(const hak_region *region, size_t wanted) {
    const hak_span *span = (const hak_span *)region->records, *end = hak_span_end_of(region);
    uintptr_t from = region->base;
    for (; span < end; span += span->granules) {
        if ((span->state == HAK_SPAN_LIVE || span->dirty != 0) && span->granules <= LONG_SPAN)
            continue;
        look_at_run(from, hak_span_start(region, span), wanted);
        from = hak_span_start(region, span + span->granules);
    }
    look_at_run(from, region->base + region->used, wanted);
}

static HAK_COLD void look(void) {
    size_t used = 0, wanted = HAK_SUPERSLAB / hak_os_page / (growing ? GROWING_PART : DENSE_PART);
    looks = LOOKS;
    sum = windows = sum_left = windows_left = 0;
    for (unsigned i = 0; i < atomic_load_explicit(&hak_regions_used, memory_order_acquire); i++) {
        const hak_region *region = &hak_regions[i];
        if (region->size == 0 || region->kind != HAK_REGION_LARGE || region->used < hak_region_huge_from)
            continue;
        used += region->used;
        if (turned >= FIRST_TURNS * region->used && hak_os_resident_told() && !hak_region_huge_spared())
            look_at_region(region, wanted);
    }
    growing = mean_left != 0 && sum / hak_max(windows, 1) >= mean_left + mean_left / 4;
    mean_left = sum_left / hak_max(windows_left, 1);
    next_look = hak_max(turned + turned / 2, hak_max(used, HAK_SUPERSLAB) * FIRST_TURNS);
}

void hak_huge_turned(size_t bytes) {
    turned += bytes;
    if (HAK_UNLIKELY(turned >= next_look) && failures < FAILURES && hak_region_huge_from != SIZE_MAX)
        look();
}
