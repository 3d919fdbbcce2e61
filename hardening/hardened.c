/* hardened.c: brings the hardened variant to life, in the order of what needs what. */
#include "allocator/policy.h"

#include "allocator/os.h"
#include "allocator/os_process.h"
#include "hardening/crash_report.h"
#include "hardening/judge.h"
#include "hardening/keep.h"
#include "hardening/seal.h"

static void on_fault(const hak_fault *fault) {
    hak_judge_fault(fault->addr, fault->at, fault->frame, fault->is_write);
}

enum {
    /* Below, and this close to the top of the address space, no region is wanted. */
    HINT_FIRST_SHIFT = 33,
    HINT_ROOM_SHIFT = 42, /* 4 TiB: more than the largest region */
};

/* An address space with a limit has holes in its table of tags: see tag.c. */
static const size_t SMALL_ADDRESS_SPACE = (size_t)16 << 30;

bool hak_harden_init(void) {
    hak_relax_init();
    hak_hardening.careful_tags = hak_os_address_limit() < SMALL_ADDRESS_SPACE;
    hak_wipe_init();
    hak_canary_init();
    if (hak_hardening.guard)
        hak_guard_init();
    if (hak_hardening.sample_period != 0 || hak_hardening.guard)
        hak_sample_init();
    if (hak_hardening.guard || hak_hardening.sample_period != 0)
        hak_os_on_fault(on_fault);
    return true;
}

void hak_harden_seal(void) {
    hak_seal_start();
}

void hak_harden_fork_child(void) {
    hak_quarantine_fork_child();
    hak_sample_fork_child();
}

/* Debug builds. Regions die after this; what was known of them is forgotten first. */
void hak_harden_reset(void) {
    hak_crash_report_reset();
    hak_quarantine_reset();
    hak_keep_reset();
    hak_sample_reset();
    hak_guard_reset();
    hak_ledger_reset();
}

/* 26 random bits of 47: the alignment of superslabs takes the rest, which the random choice of granule and slot give
 * back. Where something lies already, the kernel puts the region where it likes. */
uintptr_t hak_harden_region_hint(hak_region_kind kind) {
    (void)kind;
    if (!hak_hardening.random)
        return 0;
    uint64_t number;
    hak_os_random(&number, sizeof number);
    uintptr_t first = (uintptr_t)1 << HINT_FIRST_SHIFT;
    uintptr_t room = ((uintptr_t)1 << HAK_ADDRESS_BITS) - ((uintptr_t)1 << HINT_ROOM_SHIFT) - first;
    return first + hak_align_down(number % room, HAK_SUPERSLAB);
}
