/* mte_calls.h: the ways out of the fast paths where pointers may have memory tags; see mte.h. Elsewhere they are those
 * of typed_free.h and verify.h. */
#ifndef HAK_MTE_CALLS_H
#define HAK_MTE_CALLS_H

#include "allocator/os/os_process.h"
#include "hardening/mte.h"
#include "hardening/typed_free.h"
#include "hardening/verify.h"

#if defined(__aarch64__)
/* As hak_typed_free and hak_verify_live; `obj` is the program's pointer, `tag` (a result of hak_tag_of) that of its
 * plain address. Report a pointer whose memory has another owner. */
hak_leaving hak_mte_free(void *obj, unsigned tag, hak_claim claim, uintptr_t caller);
void hak_mte_verify_live(const void *obj, unsigned tag, const char *call, uintptr_t caller);

/* Called after hak_wipe_choose. Begins when HAKMEM_MTE=1 and the machine has tags, and then returns true. */
bool hak_mte_init(void);

/* Names a fault of the comparison. */
hak_fault_verdict hak_mte_fault(const hak_fault *fault);
#else
#define hak_mte_free        hak_typed_free
#define hak_mte_verify_live hak_verify_live
HAK_INLINE bool hak_mte_init(void) {
    return false;
}
#endif

#endif
