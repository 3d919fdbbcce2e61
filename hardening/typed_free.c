/* typed_free.c: see typed_free.h. */
#include "hardening/typed_free.h"

#include "allocator/policy.h"
#include "hardening/canary.h"
#include "hardening/typed.h"

static bool is_usual(const hak_granule *granule, void *obj, hak_claim claim, hak_place *place,
                     uint32_t *word) {
    if (!hak_granule_place(granule, obj, place))
        return false;
    *word = hak_record_load(place->record);
    size_t size = hak_record_size(*word);
    return hak_claim_fits(claim, *word & ~(uint32_t)HAK_RECORD_TYPED) &&
           (claim.size == HAK_CLAIM_NO_SIZE || claim.size == size) && !hak_ends_wrong(*place, obj, size);
}

static HAK_NOINLINE hak_leaving free_of_partition(const hak_granule *granule, void *obj, hak_claim claim,
                                                  uintptr_t caller) {
    hak_place place;
    uint32_t word;
    void *out = HAK_LIKELY(is_usual(granule, obj, claim, &place, &word))
                    ? hak_typed_end(obj, granule, place.record, word, claim.call)
                    : hak_verify_free(obj, granule->cls, claim, caller).obj;
    return (hak_leaving){out, HAK_TAG_TYPED};
}

#if defined(__clang__) && __has_attribute(musttail)
#define JUMP __attribute__((musttail))
#else
#define JUMP /* gcc 12 emits a jump by itself */
#endif

/* A report may run on a small stack, so this function leaves no frame below it. */
hak_leaving hak_typed_free(void *obj, unsigned tag, hak_claim claim, uintptr_t caller) {
    const hak_granule *granule = obj != NULL ? hak_granule_find((uintptr_t)obj) : NULL;
    if (granule == NULL || granule->partition == 0)
        JUMP return hak_verify_free(obj, tag, claim, caller);
    return free_of_partition(granule, obj, claim, caller);
}
