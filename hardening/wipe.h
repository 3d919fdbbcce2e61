/* wipe.h: zeroes objects, and checks that they are still zero, with the widest vectors of the processor. The
 * fast paths of malloc and free end here, in functions that are compiled once for each width. */
#ifndef HAK_WIPE_H
#define HAK_WIPE_H

#include "hardening/ledger.h"
#include "hardening/stain.h"

/* Before a `return` of a call with the same parameters: makes it a jump, so that the rare case costs no saved
 * registers. */
#if defined(__clang__)
#define HAK_TAIL __attribute__((musttail))
#else
#define HAK_TAIL
#endif

enum {
    HAK_WIPE_WIDEST = 64,
    /* Slots up to this size are checked whole when they are reused: that need not wait for the record, which
     * says how much of the slot its last owner had. */
    HAK_WIPE_WHOLE = 1024,
    /* Slots up to this size are also checked whole, which reads at most one page more than was touched. Larger ones
     * rest without memory: there only the pages that somebody has touched since are checked. Where the OS does not
     * say which these are: the part that the last owner had, and behind it a random line of each page. */
    HAK_WIPE_MOST = HAK_STAIN_WIDE,
    /* For more bytes than this, only parts that are not zero are zeroed. */
    HAK_WIPE_LOOKS = 4096,
};

/* A bit for each of 16 bytes that is not zero, for machines whose vectors have no such instruction. */
HAK_INLINE uint32_t hak_wipe_bits(const unsigned char *p) {
    uint32_t bits = 0;
    for (int i = 0; i < 16; i++)
        bits |= (uint32_t)(p[i] != 0) << i;
    return bits;
}

/* The functions that hak_wipe_choose has chosen; they lie on the sealed page. */
#define hak_wipe hak_hardening.wipe

/* Chooses hak_wipe, for the widest vectors that the processor has but at most `most` bytes (16, 32 or 64), which it
 * returns; and the ends of the two fast paths:
 *   hak_hardening.reuse  a freed slot of `room` bytes: still zero (see HAK_WIPE_WHOLE), canary, record `live`. Returns
 *   obj
 *   hak_hardening.end    a slot that was verified, whose record is `word`: record: held, slack zero, zero, record:
 *   freed, quarantine. Returns
 *                        the slot to hand out next, NULL: none is due
 * After hak_modes_init. */
unsigned hak_wipe_choose(unsigned most);

/* hak_hardening.reuse when freed bytes are not checked. */
void *hak_wipe_reuse_unverified(void *obj, size_t size, hak_record *record, uint32_t live, size_t room);

/* Continue reuse and end when bytes that should be zero are not. */
void *hak_wipe_reuse_slow(void *obj, size_t size, hak_record *record, uint32_t live, size_t room);
void *hak_wipe_end_slow(void *obj, const hak_granule *granule, hak_record *record, uint32_t word,
                        const char *call);

/* Zeroes more than HAK_WIPE_MOST bytes, or an object in a slot of more: gives their whole pages back, and writes to the
 * others. If p is the start of a slot, whose rest is zero, the pages of that go back, too. False: such a slot does not
 * rest, or the OS refuses; nothing was changed. */
bool hak_wipe_purge(char *p, size_t size);

/* True when a freed slot of more than HAK_WIPE_MOST bytes is zero as far as it is checked. `freed`: its record's word,
 * which says what the last owner had. */
bool hak_wipe_bare_is_clear(const char *obj, size_t room, uint32_t freed);

#endif
