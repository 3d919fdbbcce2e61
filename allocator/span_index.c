/* span_index.c: see span_index.h. */
#include "allocator/span_index.h"

enum {
    SUB_BITS = 3,
    SUBS = 1 << SUB_BITS,
    LISTS = (32 - SUB_BITS + 1) * SUBS,
    WORDS = (LISTS + 63) / 64,
    /* How many spans of the list that may hold shorter ones are looked at. */
    LOOK = 8,
};

static hak_link lists[LISTS];
static uint64_t not_empty[WORDS];

void hak_span_index_init(void) {
    for (unsigned i = 0; i < LISTS; i++)
        hak_list_init(&lists[i]);
    for (unsigned i = 0; i < WORDS; i++)
        not_empty[i] = 0;
}

/* Lengths below SUBS have a list each; above, the three bits after the highest choose one. */
static unsigned list_of(uint32_t granules) {
    if (granules < SUBS)
        return granules;
    unsigned log = hak_log2(granules);
    return (log - SUB_BITS + 1) * SUBS + ((granules >> (log - SUB_BITS)) & (SUBS - 1));
}

void hak_span_index_add(hak_span *span) {
    unsigned list = list_of(span->granules);
    hak_list_push(&lists[list], &span->link);
    not_empty[list / 64] |= (uint64_t)1 << (list % 64);
}

void hak_span_index_remove(hak_span *span) {
    unsigned list = list_of(span->granules);
    hak_list_remove(&span->link);
    if (hak_list_empty(&lists[list]))
        not_empty[list / 64] &= ~((uint64_t)1 << (list % 64));
}

/* The shortest of the first few spans of a list that are long enough. */
static hak_span *best_of(unsigned list, uint32_t granules) {
    hak_span *best = NULL;
    unsigned looked = 0;
    for (hak_link *link = lists[list].next; link != &lists[list] && looked < LOOK;
         link = link->next, looked++) {
        hak_span *span = HAK_OWNER_OF(link, hak_span, link);
        if (span->granules >= granules && (best == NULL || span->granules < best->granules))
            best = span;
    }
    return best;
}

/* The first list from `list` on that is not empty; LISTS when all are. */
static unsigned next_list(unsigned list) {
    for (unsigned word = list / 64; word < WORDS; word++) {
        uint64_t bits = not_empty[word];
        if (word == list / 64)
            bits &= UINT64_MAX << (list % 64);
        if (bits != 0)
            return word * 64 + hak_lowest_bit(bits);
    }
    return LISTS;
}

hak_span *hak_span_index_find(uint32_t granules) {
    unsigned list = list_of(granules);
    hak_span *span = best_of(list, granules);
    if (span != NULL)
        return span;
    list = next_list(list + 1); /* every span from here on is long enough */
    return list < LISTS ? best_of(list, granules) : NULL;
}

hak_region *hak_span_region(const hak_span *span) {
    for (unsigned i = 0;; i++) {
        HAK_CHECK(i < hak_regions_used, "span without a region");
        hak_region *region = &hak_regions[i];
        if (region->size != 0 && region->kind == HAK_REGION_LARGE &&
            (uintptr_t)span - region->records < region->meta_committed)
            return region;
    }
}

HAK_WALKER void hak_span_index_check(void) {
    for (unsigned list = 0; list < LISTS; list++) {
        HAK_CHECK(hak_list_empty(&lists[list]) == !(not_empty[list / 64] >> (list % 64) & 1),
                  "bitmap of lists");
        for (hak_link *link = lists[list].next; link != &lists[list]; link = link->next) {
            const hak_span *span = HAK_OWNER_OF(link, hak_span, link);
            HAK_CHECK(span->state == HAK_SPAN_FREE && list_of(span->granules) == list,
                      "span in the wrong list");
        }
    }
}
