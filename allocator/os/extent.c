/* extent.c: see extent.h. */
#include "allocator/os/extent.h"

#include "allocator/base/bits.h"
#include "allocator/os/os_keep.h"

/* Which places are drawn and taken depends on earlier inputs, so a fuzzer must not count it as coverage. */
#if defined(__clang__)
#pragma clang attribute push(__attribute__((no_sanitize("coverage"))), apply_to = function)
#endif

enum {
    CLAIMS_MAX =
        32 *
        1024, /* the regions that there may be have four extents each; and each thread may have a claim */
    CLAIMS_FIRST = 256,
    DRAWS = 64,      /* draws for an unused place: about one in a hundred draws fails */
    TRIES = 8,       /* places that may turn out to be taken */
    SPACE_PART = 32, /* a room is at most this part of the address space */
};

/* The start functions of the sanitizers with shadow memory. The compiler has chosen its places, most of the
 * address space in all; the sanitizer would find them taken if it began after us. NULL when the sanitizer is
 * not in the process. */
extern void __asan_init(void) __attribute__((weak));
extern void __msan_init(void) __attribute__((weak));
extern void __tsan_init(void) __attribute__((weak));
extern void __hwasan_init(void) __attribute__((weak));

static const size_t ROOM_LEAST = (size_t)1
                                 << 30; /* least room of an extent that has to be smaller than asked for */

typedef struct range {
    uintptr_t start;
    size_t room;
} range;

/* When there are many claims they get a table of their own; a larger table in the library would cost every
 * process. */
static range first_claims[CLAIMS_FIRST];
static range *claims = first_claims; /* room 0: unused entry */
static unsigned claims_room = CLAIMS_FIRST;
static unsigned claims_used; /* entries that ever were in use */

static bool has_shadow(void) {
    return __asan_init != NULL || __msan_init != NULL || __tsan_init != NULL || __hwasan_init != NULL;
}

/* The end of the address space, derived from the stack and the libraries, which lie at its top. */
static uintptr_t address_end(void) {
    uintptr_t landmarks[HAK_OS_LANDMARKS], top = 0;
    hak_os_landmarks(landmarks);
    for (int i = 0; i < HAK_OS_LANDMARKS; i++)
        top = hak_max(top, landmarks[i]);
    return (uintptr_t)2 << hak_log2(top);
}

static bool is_free(uintptr_t start, size_t room) {
    uintptr_t landmarks[HAK_OS_LANDMARKS];
    hak_os_landmarks(landmarks);
    for (int i = 0; i < HAK_OS_LANDMARKS; i++)
        if (landmarks[i] - start < room)
            return false;
    for (unsigned i = 0; i < claims_used; i++)
        if (start < claims[i].start + claims[i].room && claims[i].start < start + room)
            return false;
    return true;
}

static size_t claims_bytes(unsigned room) {
    return hak_align_up(room * sizeof(range), hak_os_page);
}

/* Doubles the table. False: the OS refused. */
static bool claims_grow(void) {
    size_t bytes = claims_bytes(2 * claims_room);
    uintptr_t table = claims_room < CLAIMS_MAX ? hak_os_reserve(bytes, hak_os_page, 0) : 0;
    if (table == 0)
        return false;
    if (!hak_os_commit(table, bytes)) {
        hak_os_unmap(table, bytes);
        return false;
    }
    for (unsigned i = 0; i < claims_used; i++)
        ((range *)table)[i] = claims[i];
    if (claims != first_claims)
        hak_os_unmap((uintptr_t)claims, claims_bytes(claims_room));
    claims = (range *)table;
    claims_room *= 2;
    return true;
}

static range *entry_take(void) {
    for (unsigned i = 0; i < claims_used; i++)
        if (claims[i].room == 0)
            return &claims[i];
    return claims_used < claims_room || claims_grow() ? &claims[claims_used++] : NULL;
}

/* The range for random places: without the lowest hundredth or so of the address space, where programs place
 * memory at low addresses, and without its end, where libraries and stacks lie. */
static range places(void) {
    uintptr_t end = address_end(), first = end / 128;
    return (range){first, end - end / 16 - first};
}

uintptr_t hak_extent_claim(size_t room, size_t align) {
    range space = places();
    if (room >= space.room || has_shadow())
        return 0;
    for (int i = 0; i < DRAWS; i++) {
        uint64_t number = hak_os_random_place();
        uintptr_t start = hak_align_up(space.start + number % (space.room - room), align);
        if (!is_free(start, room))
            continue;
        range *entry = entry_take();
        if (entry == NULL)
            return 0;
        *entry = (range){start, room};
        return start;
    }
    return 0;
}

void hak_extent_unclaim(uintptr_t start) {
    for (unsigned i = 0; i < claims_used; i++)
        if (claims[i].room != 0 && claims[i].start == start)
            claims[i].room = 0;
}

/* As much room as can be had in one mapping, at an address that the kernel chooses. */
static bool begin_reserved(hak_extent *extent, size_t room, size_t first, size_t align) {
    size_t least = hak_max(align, hak_align_up(first, align));
    room = hak_max(hak_align_up(room, align), least);
    uintptr_t start = hak_os_reserve(room, align, 0);
    while (start == 0 && room > least) {
        room = hak_max(least, hak_align_up(room / 2, align));
        start = hak_os_reserve(room, align, 0);
    }
    if (start == 0)
        return false;
    if (first != 0 && !hak_os_commit(start, first)) {
        hak_os_unmap(start, room);
        return false;
    }
    *extent = (hak_extent){start, room, first, true};
    return true;
}

/* Tests whether memory can be mapped at the end of the room: the address space may end earlier than it seems,
 * as under valgrind. */
static hak_map_result probe(uintptr_t start, size_t room) {
    uintptr_t last = start + room - hak_os_page;
    hak_map_result result = hak_os_map_at(last, hak_os_page);
    if (result == HAK_MAP_DONE)
        hak_os_unmap(last, hak_os_page);
    return result == HAK_MAP_REFUSED ? HAK_MAP_DONE : result; /* memory may be free later */
}

/* As hak_extent_claim, with less room when no place is large enough: other extents may lie scattered. */
static uintptr_t claim_some(size_t *room, size_t first, size_t align) {
    size_t least = hak_max(hak_align_up(first, align), hak_align_up(ROOM_LEAST, align));
    uintptr_t start = hak_extent_claim(*room, align);
    while (start == 0 && *room > least) {
        *room = hak_max(least, hak_align_down(*room / 2, align));
        start = hak_extent_claim(*room, align);
    }
    return start;
}

bool hak_extent_begin(hak_extent *extent, size_t room, size_t first, size_t align) {
    room = hak_align_up(hak_max(first, hak_min(room, places().room / SPACE_PART)), align);
    size_t some = room;
    for (int i = 0; i < TRIES; i++) {
        uintptr_t start = claim_some(&some, first, align);
        if (start == 0)
            break;
        hak_map_result result = first != 0 ? hak_os_map_at(start, first) : probe(start, some);
        if (result == HAK_MAP_DONE) {
            *extent = (hak_extent){start, some, first, false};
            return true;
        }
        hak_extent_unclaim(start);
        if (result == HAK_MAP_REFUSED)
            return false;
    }
    return begin_reserved(extent, room, first, align);
}

hak_map_result hak_extent_fill(const hak_extent *extent, uintptr_t addr, size_t size) {
    if (!extent->reserved)
        return hak_os_map_at(addr, size);
    return hak_os_commit(addr, size) ? HAK_MAP_DONE : HAK_MAP_REFUSED;
}

bool hak_extent_grow(hak_extent *extent, size_t end) {
    if (end <= extent->mapped)
        return true;
    if (end > extent->room)
        return false;
    uintptr_t from = extent->start + extent->mapped;
    size_t more = end - extent->mapped;
    hak_map_result result = hak_extent_fill(extent, from, more);
    if (result == HAK_MAP_DONE)
        extent->mapped = end;
    if (result == HAK_MAP_TAKEN)
        extent->room =
            extent->mapped; /* other code has mapped memory there: the extent cannot grow any more */
    return result == HAK_MAP_DONE;
}

bool hak_extent_hollow(const hak_extent *extent, uintptr_t addr, size_t size) {
    return extent->reserved ? hak_os_shut(addr, size) : hak_os_unmap_part(addr, size);
}

void hak_extent_end(hak_extent *extent) {
    if (extent->reserved)
        hak_os_unmap(extent->start, extent->room);
    else {
        /* Not all of the room: others may have mapped memory there. */
        hak_os_unmap(extent->start, extent->mapped);
        if (HAK_DEBUG_BUILD)
            hak_os_keep_drop(extent->start, extent->room);
        hak_extent_unclaim(extent->start);
    }
    *extent = (hak_extent){0};
}

#if defined(__clang__)
#pragma clang attribute pop
#endif
