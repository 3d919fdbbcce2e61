/* prove_ledger.c: the words of hardening/ledger.h. */
#include "proofs/proofs.h"

#include "hardening/ledger.h"

static uint32_t live_of(unsigned family, unsigned align_log2, uint32_t size) {
    hak_origin origin = {(hak_family)family, align_log2};
    return hak_record_live(origin) | size << HAK_RECORD_SIZE_SHIFT;
}

/* Proves: a record says state, family, alignment and size as they were put in; and freed, who freed it
 * For: all families, alignments, sizes to 256 KiB, all owners
 * Mutant: ledger_owner_width
 * Flags: -DHAK_HARDENED=1 --no-standard-checks */
void prove_record(void) {
    unsigned family = nondet_unsigned() % 3, align = nondet_unsigned() % 64;
    uint32_t size = nondet_u32() % (256 * 1024 + 1 - HAK_CANARY_BYTES),
             owner = nondet_u32() % HAK_RECORD_OWNERS;
    uint32_t live = live_of(family, align, size);
    PROVE(hak_record_state(live) == HAK_SLOT_LIVE && hak_record_size(live) == size);
    PROVE((live >> HAK_RECORD_FAMILY_SHIFT & 3) == family);
    PROVE((live >> HAK_RECORD_ALIGN_SHIFT & HAK_RECORD_ALIGN_MASK) == align);
    uint32_t freed = hak_record_freed(owner, live);
    PROVE(hak_record_state(freed) == HAK_SLOT_FREED && hak_record_size(freed) == size);
    PROVE((freed >> HAK_RECORD_OWNER_SHIFT & (HAK_RECORD_OWNERS - 1)) == owner);
}

/* Proves: a claim fits the objects that it may end, and no other: no two alignments look alike
 * For: all families, alignments made and claimed, sized or not
 * Mutant: ledger_align_31
 * Flags: -DHAK_HARDENED=1 --no-standard-checks */
void prove_claim(void) {
    unsigned made_family = nondet_unsigned() % 3, made = nondet_unsigned() % 60 + HAK_ALIGN_LOG2;
    unsigned said_family = nondet_unsigned() % 3, said = nondet_unsigned() % 64;
    bool sized = nondet_bool(), says_alignment = nondet_bool();
    uint32_t word = live_of(made_family, made, nondet_u32() % 1000);
    hak_claim claim = {.call = "", .size = sized ? 1 : HAK_CLAIM_NO_SIZE, .family = said_family};
    claim.align_log2 = says_alignment ? said : HAK_CLAIM_ANY;
    bool any = !says_alignment && said_family == HAK_FAMILY_MALLOC && !sized;
    bool same = made == (says_alignment && said > HAK_ALIGN_LOG2 ? said : HAK_ALIGN_LOG2);
    PROVE(hak_claim_fits(claim, word) == (made_family == said_family && (any || same)));
    PROVE(!hak_claim_fits(claim, (word & ~(uint32_t)HAK_RECORD_STATE) | HAK_SLOT_FREED));
}
