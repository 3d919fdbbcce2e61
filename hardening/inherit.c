/* inherit.c: see inherit.h. */
#include "hardening/inherit.h"

#include "allocator/os.h"
#include "allocator/os_process.h"
#include "hardening/canary.h"

HAK_HIDDEN uint32_t hak_forks;
HAK_HIDDEN bool hak_inherit_unsure;
static unsigned process; /* its number */

void hak_inherit_start(void) {
    process = hak_os_pid();
}

bool hak_inherit_unseen(void) {
    return process != hak_os_pid();
}

/* Halves until each part is there, or is not. */
void hak_inherit_fill(uintptr_t addr, size_t size) {
    if (size == 0 || hak_os_is_mapped(addr, size))
        return;
    if (hak_os_reserve_zeros_at(addr, size)) {
        (void)hak_os_commit(addr, size);
        return;
    }
    if (size <= hak_os_page)
        return; /* the OS refuses */
    size_t half = hak_align_up(size / 2, hak_os_page);
    hak_inherit_fill(addr, half);
    hak_inherit_fill(addr + half, size - half);
}

void hak_inherit_begin(void) {
    process = hak_os_pid();
    hak_forks++;
    hak_inherit_unsure |= !HAK_ALONE(); /* which libc leaves in a child as it was in its parent */
    for (unsigned i = 0; i < atomic_load(&hak_regions_used); i++) {
        if (hak_regions[i].size == 0)
            continue;
        hak_ledger[i].inherited = hak_regions[i].used;
        hak_inherit_fill(hak_regions[i].base, hak_regions[i].used);
        if (hak_ledger[i].base == hak_ledger_first.base)
            hak_ledger_first.inherited = hak_regions[i].used;
    }
}

bool hak_inherited(uintptr_t addr) {
    const hak_ledger_region *ledger = hak_forks != 0 ? hak_ledger_of(addr) : NULL;
    return ledger != NULL && addr - ledger->base < ledger->inherited;
}

/* A program wipes whole pages of its own object, so that only a wide object, which has all of a page before its end and more, can have
 * lost what lies there. */
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
