/* tag.c: see tag.h. */
#include "allocator/pages/tag.h"

#include "allocator/os/extent.h"

/* Before hak_tag_init only NULL has a tag: free(NULL) may be the first call. */
static uint8_t no_tags[1];
uint8_t *hak_tags = no_tags;

/* One tag per granule of the address space. */
static const size_t TABLE_BYTES = (size_t)1 << (HAK_ADDRESS_BITS - HAK_GRANULE_SHIFT);

enum { PAGES_MAX = 1 << (HAK_ADDRESS_BITS - HAK_GRANULE_SHIFT - 12) };

/* Bit i: page i of the table is mapped. */
static uint64_t mapped[PAGES_MAX / 64];

/* The parts of the table that are mapped at start, so that addresses which a program may free by mistake are
 * recognised: bytes before and after each landmark. They cover a program's own heap (brk) and data, the place
 * of libraries and of mappings without a requested address, which grows downwards, and stacks. About 500 KiB of
 * address space, no memory. */
static const struct {
    hak_landmark at;
    size_t before, after;
} zones[] = {
    {HAK_LANDMARK_PROGRAM, (size_t)1 << 30, (size_t)4 << 30},
    {HAK_LANDMARK_LIBC, (size_t)16 << 30, (size_t)2 << 30},
    {HAK_LANDMARK_LIBRARY, (size_t)1 << 30, (size_t)1 << 30},
    {HAK_LANDMARK_STACK, (size_t)2 << 30, (size_t)1 << 30},
};

/* Which pages are mapped depends on earlier inputs, so a fuzzer must not count it as coverage. */
#if defined(__clang__)
#pragma clang attribute push(__attribute__((no_sanitize("coverage"))), apply_to = function)
#endif

static size_t page_of(uintptr_t addr) {
    return (addr >> HAK_GRANULE_SHIFT) / hak_os_page;
}
static uintptr_t page_address(size_t page) {
    return (uintptr_t)hak_tags + page * hak_os_page;
}
static bool is_mapped(size_t page) {
    return (mapped[page / 64] >> page % 64 & 1) != 0;
}

static void note_mapped(size_t first, size_t end) {
    for (size_t page = first; page < end; page++)
        mapped[page / 64] |= (uint64_t)1 << page % 64;
}

/* The end of the run of pages from `page` on that are all mapped or all unmapped; at most `end`. */
static size_t run_end(size_t page, size_t end) {
    size_t run = page + 1;
    while (run < end && is_mapped(run) == is_mapped(page))
        run++;
    return run;
}

/* Maps the pages that are not mapped yet; they read as zero. A page that the OS refuses stays unmapped, because
 * these pages serve only to recognise errors. */
static void cover_zone(size_t first, size_t end) {
    for (size_t page = first, run; page < end; page = run) {
        run = run_end(page, end);
        if (!is_mapped(page) &&
            hak_os_reserve_zeros_at(page_address(page), (run - page) * hak_os_page) == HAK_MAP_DONE)
            note_mapped(page, run);
    }
}

static void cover_landmarks(void) {
    const uintptr_t top = ((uintptr_t)1 << HAK_ADDRESS_BITS) - 1;
    uintptr_t landmarks[HAK_OS_LANDMARKS];
    hak_os_landmarks(landmarks);
    for (size_t i = 0; i < sizeof zones / sizeof zones[0]; i++) {
        uintptr_t at = landmarks[zones[i].at];
        if (at > top)
            continue;
        uintptr_t from = at > zones[i].before ? at - zones[i].before : 0;
        cover_zone(page_of(from), page_of(hak_min(top, at + zones[i].after)) + 1);
    }
}

/* Maps the whole table where no address can be chosen. That costs address space but no memory. */
static bool init_whole(void) {
    uintptr_t table = hak_os_reserve_zeros(TABLE_BYTES);
    if (table == 0)
        return false;
    hak_tags = (uint8_t *)table;
    note_mapped(0, TABLE_BYTES / hak_os_page);
    return true;
}

bool hak_tag_init(void) {
    enum { TRIES = 8 };
    for (int i = 0; i < TRIES; i++) {
        uintptr_t table = hak_extent_claim(TABLE_BYTES, HAK_SUPERSLAB);
        hak_map_result result =
            table != 0 ? hak_os_reserve_zeros_at(table, hak_os_page) : HAK_MAP_TAKEN; /* the page for NULL */
        if (result == HAK_MAP_DONE) {
            hak_tags = (uint8_t *)table;
            note_mapped(0, 1);
            cover_landmarks();
            return true;
        }
        if (table == 0)
            break;
        hak_extent_unclaim(table);
        if (result == HAK_MAP_REFUSED)
            return false;
    }
    return init_whole();
}

/* Works page by page: a page describes 256 MiB. */
bool hak_tag_cover(uintptr_t addr, size_t size) {
    size_t end = page_of(addr + size - 1) + 1;
    for (size_t page = page_of(addr); page < end; page++) {
        uintptr_t at = page_address(page);
        if (!(is_mapped(page) ? hak_os_commit(at, hak_os_page)
                              : hak_os_map_at(at, hak_os_page) == HAK_MAP_DONE))
            return false;
        note_mapped(page, page + 1);
    }
    return true;
}

uintptr_t hak_tag_covered_to(uintptr_t end) {
    return (page_of(end - 1) + 1) * hak_os_page << HAK_GRANULE_SHIFT;
}

void hak_tag_set(uintptr_t addr, size_t size, unsigned tag) {
    uint8_t *first = hak_tags + (addr >> HAK_GRANULE_SHIFT);
    for (size_t i = 0; i < size >> HAK_GRANULE_SHIFT; i++) /* some tens at most */
        HAK_SHOW(first[i], (uint8_t)tag);
}

#if defined(__clang__)
#pragma clang attribute pop
#endif
