/* seal.c: see seal.h. */
#include "hardening/seal.h"

#include "allocator/os/os.h"
#include "hardening/modes.h"

static bool wanted(void) {
    return hak_mode_of(HAK_CHECK_SEAL) != HAK_MODE_OFF;
}

void hak_seal_start(void) {
    if (!wanted() || hak_os_page > HAK_SEALED_BYTES)
        return; /* with larger pages other data would share the page */
    hak_os_seal((uintptr_t)&hak_hardening_data, sizeof hak_hardening_data);
    (void)hak_os_freeze((uintptr_t)&hak_hardening_data, sizeof hak_hardening_data);
}

void hak_seal_metadata(uintptr_t addr, size_t size) {
    if (!HAK_DEBUG_BUILD && wanted())
        (void)hak_os_freeze(addr, size);
}
