/* span_index.c: see span_index.h. */
#include "allocator/heap/span_index.h"

#include "allocator/policy.h"

enum {
    SUB_BITS = 3,
    SUBS = 1 << SUB_BITS,
    LISTS = (32 - SUB_BITS + 1) * SUBS,
    WORDS = (LISTS + 63) / 64,
    /* Number of spans to try in the list that may also hold shorter ones. */
    LOOK = 8,
};

/* One per kind of region; that of slabs stays empty, those of partitions begin with their first span. */
typedef struct hak_span_index {
    hak_link lists[LISTS];
    uint64_t not_empty[WORDS];
} hak_span_index;

static hak_span_index plain[HAK_REGION_TYPED];
static hak_span_index *typed; /* of HAK_REGION_TYPED, and so on */
static unsigned begun;        /* the kinds below have theirs */

static void begin(hak_span_index *index) {
    for (unsigned i = 0; i < LISTS; i++)
        hak_list_init(&index->lists[i]);
    for (unsigned i = 0; i < WORDS; i++)
        index->not_empty[i] = 0;
}

static hak_span_index *index_for(unsigned kind) {
    return kind < HAK_REGION_TYPED ? &plain[kind] : &typed[kind - HAK_REGION_TYPED];
}

static void begin_to(unsigned kind) {
    while (begun <= kind)
        begin(index_for(begun++));
}

void hak_span_index_init(void) {
    begun = 0;
    begin_to(HAK_REGION_TYPED - 1);
}

bool hak_span_index_open(hak_region_kind kind) {
    static hak_extent table;
    if (HAK_LIKELY(kind < begun))
        return true;
    if (!hak_region_reach(&table, sizeof typed[0], HAK_POLICY_PARTITIONS, kind - HAK_REGION_TYPED + 1))
        return false;
    typed = (hak_span_index *)table.start;
    begin_to(kind);
    return true;
}

/* Lengths below SUBS have a list each; above, the three bits after the highest choose one. Both in one formula:
 * lengths are random, and a branch on them would often be mispredicted. */
static unsigned list_of(uint32_t granules) {
    unsigned shift = hak_log2(granules | SUBS) - SUB_BITS;
    return shift * SUBS + (granules >> shift);
}

static hak_span_index *index_of(const hak_span *span) {
    return index_for(span->kind);
}

void hak_span_index_add(hak_span *span) {
    hak_span_index *index = index_of(span);
    unsigned list = list_of(span->granules);
    hak_list_push(&index->lists[list], &span->link);
    index->not_empty[list / 64] |= (uint64_t)1 << (list % 64);
}

void hak_span_index_remove(hak_span *span) {
    hak_link *next = span->link.next;
    bool last = next == span->link.prev;
    hak_list_remove(&span->link);
    if (!last)
        return;
    hak_span_index *index = index_of(span);
    size_t list = (size_t)(next - index->lists); /* the head is what is left */
    index->not_empty[list / 64] &= ~((uint64_t)1 << (list % 64));
}

/* The shortest of the first few spans of a list that are long enough. */
static hak_span *best_of(const hak_link *list, uint32_t granules) {
    hak_span *best = NULL;
    unsigned looked = 0;
    for (hak_link *link = list->next; link != list && looked < LOOK; link = link->next, looked++) {
        hak_span *span = HAK_OWNER_OF(link, hak_span, link);
        if (span->granules >= granules && (best == NULL || span->granules < best->granules))
            best = span;
    }
    return best;
}

/* The first list from `list` on that is not empty; LISTS when all are. */
static unsigned next_list(const hak_span_index *index, unsigned list) {
    for (unsigned word = list / 64; word < WORDS; word++) {
        uint64_t bits = index->not_empty[word];
        if (word == list / 64)
            bits &= UINT64_MAX << (list % 64);
        if (bits != 0)
            return word * 64 + hak_lowest_bit(bits);
    }
    return LISTS;
}

hak_span *hak_span_index_find(hak_region_kind kind, uint32_t granules) {
    const hak_span_index *index = index_for(kind);
    unsigned list = list_of(granules);
    hak_span *span = best_of(&index->lists[list], granules);
    if (span != NULL)
        return span;
    list = next_list(index, list + 1); /* every span from here on is long enough */
    return list < LISTS ? best_of(&index->lists[list], granules) : NULL;
}

hak_region *hak_span_region(const hak_span *span) {
    for (unsigned i = 0;; i++) {
        HAK_CHECK(i < hak_regions_used, "span without a region");
        hak_region *region = &hak_regions[i];
        if (region->size != 0 && hak_region_is_large(region) &&
            (uintptr_t)span - region->records < region->meta_committed)
            return region;
    }
}

static HAK_WALKER void check_index(const hak_span_index *index) {
    for (unsigned list = 0; list < LISTS; list++) {
        HAK_CHECK(hak_list_empty(&index->lists[list]) == !(index->not_empty[list / 64] >> (list % 64) & 1),
                  "bitmap of lists");
        for (hak_link *link = index->lists[list].next; link != &index->lists[list]; link = link->next) {
            const hak_span *span = HAK_OWNER_OF(link, hak_span, link);
            HAK_CHECK(span->state == HAK_SPAN_FREE && list_of(span->granules) == list &&
                          index_of(span) == index,
                      "span in the wrong list");
        }
    }
}

HAK_WALKER void hak_span_index_check(void) {
    for (unsigned kind = 0; kind < begun; kind++)
        check_index(index_for(kind));
}
