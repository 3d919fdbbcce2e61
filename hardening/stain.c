/* stain.c: see stain.h. */
#include "hardening/stain.h"

#include "allocator/os/os.h"
#include "allocator/os/os_process.h"
#include "hardening/canary.h"
#include "hardening/matter.h"

HAK_PEEKS static const unsigned char *find(const void *start, size_t size) {
    const unsigned char *at = start, *end = at + size;
    for (; at < end && (uintptr_t)at % 16 != 0; at++)
        if (*at != 0)
            return at;
    size_t whole = hak_align_down((uintptr_t)(end - at), 16);
    if (whole != 0 && at < end && hak_hardening.wipe.is_clear((const char *)at, whole))
        at += whole;
    for (; at < end; at++)
        if (*at != 0)
            return at;
    return NULL;
}

const unsigned char *hak_stain_find_touched(const void *start, size_t size) {
    enum { PAGES = 64 };
    uintptr_t first = (uintptr_t)start, end = first + size;
    if (!hak_os_resident_told())
        return find(start, size);
    for (uintptr_t at = hak_align_down(first, hak_os_page); at < end; at += PAGES * hak_os_page) {
        size_t pages = hak_min(PAGES, (hak_align_up(end, hak_os_page) - at) / hak_os_page);
        for (uint64_t bits = hak_os_resident(at, (unsigned)pages); bits != 0; bits &= bits - 1) {
            uintptr_t page = at + (unsigned)__builtin_ctzll(bits) * hak_os_page;
            uintptr_t from = hak_max(page, first);
            const unsigned char *bad = find((const void *)from, hak_min(page + hak_os_page, end) - from);
            if (bad != NULL)
                return bad;
        }
    }
    return NULL;
}

const unsigned char *hak_stain_find(const void *start, size_t size) {
    return size > HAK_STAIN_WIDE ? hak_stain_find_touched(start, size) : find(start, size);
}

void hak_stain_slot(void *obj, uintptr_t caller) {
    hak_place place;
    hak_matter m = {"malloc", (uintptr_t)obj, caller, NULL, false, NULL};
    if (!hak_ledger_find(obj, &place))
        hak_die("corrupt metadata", "an object of a cache is no slot");
    uint32_t word = hak_record_load(place.record);
    if (hak_record_state(word) == HAK_SLOT_LIVE || hak_record_state(word) == HAK_SLOT_HELD) {
        hak_matter_report(&m, HAK_ERROR_DOUBLE_FREE, HAK_CHECK_FREE,
                          "freed twice at once: the slot has an owner already", NULL);
        return;
    }
    const unsigned char *bad =
        hak_stain_find(obj, place.size); /* checks the whole slot: the caller may have checked a part */
    if (bad == NULL)
        return;
    hak_matter_report(&m, HAK_ERROR_WRITE, HAK_CHECK_WRITE, "bytes of a freed object were overwritten", bad);
    hak_hardening.wipe.clear(obj, place.size); /* the process goes on: the next owner gets a zeroed slot */
}

void hak_stain_slack(const void *obj, size_t size, size_t room, const char *call) {
    hak_matter m = {call, (uintptr_t)obj, 0, NULL, true, NULL};
    const unsigned char *slack = (const unsigned char *)obj + size + HAK_CANARY_BYTES;
    const unsigned char *bad = hak_stain_find(slack, room - size - HAK_CANARY_BYTES);
    if (bad != NULL)
        hak_matter_report(&m, HAK_ERROR_OVERFLOW, HAK_CHECK_CANARY,
                          "bytes between the end of the object and the next one were overwritten", bad);
}
