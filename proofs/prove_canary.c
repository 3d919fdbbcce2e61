/* prove_canary.c: the shape of hardening/canary.h. */
#include "proofs/proofs.h"

#include "hardening/canary.h"

HAK_HIDDEN hak_hardening_sealed hak_hardening_data;

/* Proves: a canary's first byte is 0x80 to 0xbf, its second 0, its last 0x80 to 0xff
 * For: all keys, all addresses
 * Mutant: canary_second_byte
 * Flags: -DHAK_HARDENED=1 --no-standard-checks */
void prove_canary_shape(void) {
    for (int i = 0; i < 4; i++)
        hak_hardening.canary_keys[i] = nondet_u64();
    uint64_t canary = hak_canary_at((const void *)(uintptr_t)nondet_u64());
    PROVE((canary & 0xc0) == 0x80 && (canary >> 8 & 0xff) == 0 && canary >> 63 == 1);
}
