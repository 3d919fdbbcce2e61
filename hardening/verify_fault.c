/* verify_fault.c: see verify_fault.h. */
#include "hardening/verify_fault.h"

#include "hardening/crash_report.h"
#include "hardening/exits.h"
#include "hardening/locate.h"
#include "hardening/mte_calls.h"

hak_fault_verdict hak_verify_fault(const hak_fault *fault) {
#if defined(__aarch64__)
    if (fault->is_tag)
        return hak_mte_fault(fault);
#endif
    uintptr_t addr = fault->addr;
    hak_located found;
    if (addr == 0 || !hak_locate(addr, &found))
        return HAK_FAULT_GOES_ON;
    if (hak_exits_mend(fault))
        return HAK_FAULT_MENDED;
    static const char *const calls[] = {"access", "read", "write"};
    /* An access to the object's own pages faults only because it was freed, at whatever byte a wide access
     * begins. */
    bool freed = hak_record_state(found.word) == HAK_SLOT_FREED &&
                 addr - (found.obj - found.before) < found.before + found.room;
    const char *what = freed              ? "of an object that has been freed"
                       : found.size == 0  ? "of an object of 0 bytes"
                       : addr < found.obj ? "before the start of the object"
                                          : "past the end of the object";
    hak_check check =
        found.where == HAK_WHERE_SAMPLED && found.size != 0 ? HAK_CHECK_SAMPLE : HAK_CHECK_GUARD;
    hak_error_report(&(hak_error){.name = freed ? HAK_ERROR_USE : HAK_ERROR_BOUNDS,
                                  .check = check,
                                  .call = calls[fault->is_write + 1],
                                  .addr = addr,
                                  .what = what,
                                  .caller = fault->at,
                                  .frame = fault->frame,
                                  .is_fault = true});
    return hak_mode_ends(check) ? HAK_FAULT_ENDS : HAK_FAULT_GOES_ON;
}
