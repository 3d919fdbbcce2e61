/* tag.c: see tag.h. */
#include "allocator/tag.h"

#include "allocator/os.h"

#include <string.h>

/* Before hak_tag_init there is a tag for NULL only: free(NULL) may be the first call. */
static uint8_t no_tags[1];
uint8_t *hak_tags = no_tags;

/* One tag per granule of the address space, and the bytes of addresses that a page of tags describes. */
static const size_t TABLE_BYTES = (size_t)1 << (HAK_ADDRESS_BITS - HAK_GRANULE_SHIFT);

/* Below this limit the whole table would be too large a part of the address space. */
static const size_t SMALL_ADDRESS_SPACE = (size_t)16 << 30;

/* Where the table of a small address space goes: far from where the kernel puts libraries, stacks and heaps. */
static const uintptr_t SPARSE_FIRST = (uintptr_t)1 << 44;
enum { SPARSE_TRIES = 16 };

static bool sparse;

/* The page of the table that holds the tag of `addr`. */
static uintptr_t tag_page(uintptr_t addr) {
    return hak_align_down((uintptr_t)hak_tags + (addr >> HAK_GRANULE_SHIFT), hak_os_page);
}

/* Maps the pages of the table for [from, to]; those that are mapped already stay. */
static void cover_sparse(uintptr_t from, uintptr_t to) {
    for (uintptr_t page = tag_page(from); page <= tag_page(to); page += hak_os_page)
        (void)hak_os_reserve_zeros_at(page, hak_os_page);
}

static bool init_sparse(size_t limit) {
    sparse = true;
    for (int i = 0; i < SPARSE_TRIES && hak_tags == no_tags; i++) {
        uintptr_t candidate = SPARSE_FIRST + (uintptr_t)i * TABLE_BYTES;
        if (hak_os_reserve_zeros_at(candidate, hak_os_page)) /* also the page for NULL */
            hak_tags = (uint8_t *)candidate;
    }
    if (hak_tags == no_tags)
        return false;
    const uintptr_t top = ((uintptr_t)1 << HAK_ADDRESS_BITS) - 1;
    uintptr_t landmarks[HAK_OS_LANDMARKS];
    hak_os_landmarks(landmarks);
    limit = hak_min(limit, SMALL_ADDRESS_SPACE);
    for (int i = 0; i < HAK_OS_LANDMARKS; i++)
        cover_sparse(landmarks[i] > limit ? landmarks[i] - limit : 0, hak_min(top, landmarks[i] + limit));
    return true;
}

bool hak_tag_init(void) {
    size_t limit = hak_os_address_limit();
    if (limit >= SMALL_ADDRESS_SPACE) {
        uintptr_t table = hak_os_reserve_zeros(TABLE_BYTES);
        if (table != 0) {
            hak_tags = (uint8_t *)table;
            return true;
        }
    }
    return init_sparse(limit);
}

bool hak_tag_cover(uintptr_t addr, size_t size) {
    uintptr_t first = tag_page(addr), last = tag_page(addr + size - 1);
    if (sparse)
        cover_sparse(addr, addr + size - 1);
    return hak_os_commit(first, last + hak_os_page - first);
}

void hak_tag_set(uintptr_t addr, size_t size, unsigned tag) {
    memset(hak_tags + (addr >> HAK_GRANULE_SHIFT), (int)tag, size >> HAK_GRANULE_SHIFT);
}
