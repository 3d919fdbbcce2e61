/* mte.c: see mte.h. */
#include "hardening/mte.h"

#if defined(__aarch64__)
#include "allocator/os/os.h"
#include "allocator/os/os_tags.h"
#include "hardening/ledger.h"

enum { MOST = 32 * HAK_KIB }; /* where pages are larger */

/* An owner of no more than a page has no page as a whole, so it cannot purge one, which would take the tags. */
size_t hak_mte_most(void) {
    return hak_min(hak_os_page, MOST);
}

/* Instructions that store the tag of the pointer x9 over one or two granules there, and that also zero them. No store
 * of tags is compared. */
#define STG   ".inst 0xd9200929"
#define ST2G  ".inst 0xd9a00929"
#define STZG  ".inst 0xd9600929"
#define STZ2G ".inst 0xd9e00929"
#define STORE_AT(instruction)                                                                                \
    do {                                                                                                     \
        register char *x9 __asm__("x9") = at;                                                                \
        __asm__ volatile(instruction : : "r"(x9) : "memory");                                                \
    } while (0)

/* `room` is a multiple of 16. */
#define STORE_TAGS(obj, room, one, two)                                                                      \
    do {                                                                                                     \
        char *at = (obj), *end = at + hak_align_down(room, 2 * HAK_MTE_GRANULE);                             \
        for (; at < end; at += 2 * HAK_MTE_GRANULE)                                                          \
            STORE_AT(two);                                                                                   \
        if ((room) % (2 * HAK_MTE_GRANULE) != 0)                                                             \
            STORE_AT(one);                                                                                   \
    } while (0)

void hak_mte_store(void *obj, size_t room) {
    STORE_TAGS(obj, room, STG, ST2G);
}

void hak_mte_store_zeroed(void *obj, size_t room) {
    STORE_TAGS(obj, room, STZG, STZ2G);
}

/* Returns the pointer with a random tag that is not in the set `shut`. irg x9, x9, x10 */
static void *draw_tag(void *obj, uint64_t shut) {
    register void *x9 __asm__("x9") = obj;
    register uint64_t x10 __asm__("x10") = shut;
    __asm__ volatile(".inst 0x9aca1129" : "+r"(x9) : "r"(x10));
    return x9;
}

void hak_mte_mapped_slow(uintptr_t addr, size_t size) {
    hak_os_tags_allow(addr, size);
}

/* The number of the slot in its slab, odd or even. */
bool hak_mte_is_odd(const void *obj) {
    hak_place place;
    return hak_ledger_find(obj, &place) && place.slot % 2 != 0;
}

/* The owner gets the pointer that the memory has, whatever was drawn: where the memory has no tags, or the program has
 * forbidden all of them by its own prctl, that is a plain one, which is right as well. */
void *hak_mte_make_slow(void *obj, size_t room, const hak_record *record) {
    const uint64_t even = 0x5555, odd = 0xaaaa;
    if (room > hak_mte_most())
        return obj;
    uint32_t word = hak_record_load(record);
    bool is_in_odd = hak_mte_is_odd(obj);
    unsigned last = (word & HAK_MTE_LAST_BITS) >> HAK_MTE_LAST_SHIFT << 1 | is_in_odd;
    uint64_t shut = (is_in_odd ? even : odd | 1);
    if (hak_record_state(word) == HAK_SLOT_FREED)
        shut |= (uint64_t)1 << last;
    hak_mte_store(draw_tag(obj, shut), room);
    return hak_mte_tagged(obj);
}

/* Half of the tag is enough: the place of the slot says the other. */
uint32_t hak_mte_last(const void *obj) {
    return hak_mte_tag(hak_mte_tagged(obj)) >> 1 << HAK_MTE_LAST_SHIFT;
}

uint32_t hak_mte_freed_slow(void *obj, size_t room) {
    if (room > hak_mte_most())
        return 0;
    uint32_t last = hak_mte_last(obj);
    hak_mte_store(obj, room);
    return last;
}
#endif
