/* matter.c: see matter.h. Each error is reported with its own literal. */
#include "hardening/matter.h"

#include "allocator/os/operators.h"
#include "hardening/once.h"

static const uint32_t FAMILY_BITS = 3u << HAK_RECORD_FAMILY_SHIFT;
static const uint32_t ALIGN_BITS = (uint32_t)HAK_RECORD_ALIGN_MASK << HAK_RECORD_ALIGN_SHIFT;

HAK_COLD void hak_matter_report(const hak_matter *m, const char *error, hak_check check, const char *what,
                                const void *bad) {
    if (hak_mode_of(check) == HAK_MODE_OFF ||
        (hak_mode_of(check) == HAK_MODE_ONCE && !hak_once_first(check, m->caller)))
        return;
    hak_error_report(
        &(hak_error){.name = m->not_live != NULL && check == HAK_CHECK_FREE ? m->not_live : error,
                     .check = check,
                     .call = m->call,
                     .addr = m->addr,
                     .what = what,
                     .bad = (uintptr_t)bad,
                     .was_live = m->was_live,
                     .claim = m->claim,
                     .caller = m->caller});
}

void hak_matter_not_ours(const hak_matter *m) {
    hak_matter_report(m, HAK_ERROR_INVALID_FREE, HAK_CHECK_FREE, "not an address that malloc has given out",
                      NULL);
}

void hak_matter_inside(const hak_matter *m) {
    if (m->addr % HAK_MIN_ALIGN != 0)
        hak_matter_report(m, HAK_ERROR_MISALIGNED_FREE, HAK_CHECK_FREE,
                          "not the start of an object, not even aligned", NULL);
    else
        hak_matter_report(m, HAK_ERROR_INTERIOR_FREE, HAK_CHECK_FREE, "inside an object, not its start",
                          NULL);
}

void hak_matter_not_live(const hak_matter *m, uint32_t word) {
    if (hak_record_state(word) == HAK_SLOT_UNUSED)
        hak_matter_report(m, HAK_ERROR_INVALID_FREE, HAK_CHECK_FREE,
                          "memory that malloc has not given out yet", NULL);
    else
        hak_matter_report(m, HAK_ERROR_DOUBLE_FREE, HAK_CHECK_FREE, "the object has been freed already",
                          NULL);
}

/* True when a wrong claim proves nothing: if the program or one of its libraries replaces some of C++'s
 * operators, those may call malloc while the others do not. */
static bool claim_means_nothing(hak_claim claim, uint32_t word) {
    bool ends_in_c = claim.family == HAK_FAMILY_MALLOC, made_in_c = (word & FAMILY_BITS) == 0;
    if (ends_in_c && made_in_c)
        return false;
    return hak_operators_replaced() || (ends_in_c != made_in_c && hak_operators_elsewhere());
}

static bool claim_is_right(hak_claim claim, uint32_t word, size_t size) {
    return hak_claim_fits(claim, word) && (claim.size == HAK_CLAIM_NO_SIZE || claim.size == size);
}

/* True when nothing would be reported anyway. Saves the costly test whether a claim proves anything. */
static bool is_silent(hak_check check, uintptr_t caller) {
    return hak_mode_of(check) == HAK_MODE_OFF ||
           (hak_mode_of(check) == HAK_MODE_ONCE && hak_once_seen(check, caller));
}

static void wrong_claim(const hak_matter *m, hak_claim claim, uint32_t word, hak_check check,
                        const char *error, const char *what) {
    if (is_silent(check, m->caller) || claim_means_nothing(claim, word))
        return;
    hak_matter its = *m;
    its.claim = &claim;
    hak_matter_report(&its, error, check, what, NULL);
}

/* True when hak_verify_live has checked the claim of a resize already, with the call site. The resize then
 * frees what it has moved. */
static bool claim_is_verified(const hak_matter *m) {
    return hak_matter_resizes(m->call) && m->not_live == NULL;
}

/* The claim does not change how the object is freed. */
void hak_matter_check_claim(const hak_matter *m, hak_claim claim, uint32_t word, size_t size) {
    word &= ~(uint32_t)HAK_RECORD_TYPED; /* not part of a claim */
    if (claim_is_verified(m) || claim_is_right(claim, word, size))
        return;
    if ((word & FAMILY_BITS) != (uint32_t)claim.family << HAK_RECORD_FAMILY_SHIFT)
        wrong_claim(m, claim, word, HAK_CHECK_FAMILY, HAK_ERROR_FAMILY,
                    "made by another family of functions");
    else if (!hak_claim_fits(claim, word) &&
             (word & ALIGN_BITS & hak_claim_mask(claim)) != hak_claim_align(claim) << HAK_RECORD_ALIGN_SHIFT)
        wrong_claim(m, claim, word, HAK_CHECK_ALIGNMENT, HAK_ERROR_ALIGNMENT, "made with another alignment");
    if (claim.size != HAK_CLAIM_NO_SIZE && claim.size != size)
        wrong_claim(m, claim, word, HAK_CHECK_SIZE, HAK_ERROR_SIZE, "not the size that was asked for");
}

void hak_matter_overflow(const hak_matter *m, const void *bad) {
    hak_matter_report(m, HAK_ERROR_OVERFLOW, HAK_CHECK_CANARY,
                      "bytes past the end of the object were overwritten", bad);
}
