/* wipe.h: zeroing objects, and finding out whether they still are zero, with the widest vectors that the processor has.
 * The fast paths of malloc and free end here, in functions that are compiled once for each width. */
#ifndef HAK_WIPE_H
#define HAK_WIPE_H

#include "hardening/ledger.h"

/* Before a `return` of a call with the caller's own parameters: a jump, so that nothing is saved for what is rare. */
#if defined(__clang__)
#define HAK_TAIL __attribute__((musttail))
#else
#define HAK_TAIL
#endif

enum {
    HAK_WIPE_WIDEST = 64,
    /* Slots of at most so many bytes are looked at as a whole when they are handed out again: that need not wait for
     * the record, which says how much of the slot its last owner had. */
    HAK_WIPE_WHOLE = 1024,
    /* Up to here all the same, a page more at most than was touched. Of larger ones what the last owner had, and a line
     * that is drawn of each page behind that, so that most pages that nobody touched stay so. */
    HAK_WIPE_MOST = 32 * HAK_KIB,
    /* More than so many bytes are zeroed where they are not zero. */
    HAK_WIPE_LOOKS = 4096,
};

/* Bytes of a freed slot from its start on that are looked at when it is handed out, `size` of them its last owner's. */
HAK_INLINE size_t hak_wipe_looked_at(size_t room, size_t size) {
    return room <= HAK_WIPE_MOST ? room : hak_align_up(size + HAK_CANARY_BYTES, HAK_MIN_ALIGN);
}

/* One bit for each of 16 bytes that is not zero, where vectors do not do that. */
HAK_INLINE uint32_t hak_wipe_bits(const unsigned char *p) {
    uint32_t bits = 0;
    for (int i = 0; i < 16; i++)
        bits |= (uint32_t)(p[i] != 0) << i;
    return bits;
}

/* Chosen by hak_wipe_choose, on the page that is sealed. */
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

/* hak_hardening.reuse where nothing is verified. */
void *hak_wipe_reuse_unverified(void *obj, size_t size, hak_record *record, uint32_t live, size_t room);

/* Their rest when not all bytes are zero that should be. */
void *hak_wipe_reuse_slow(void *obj, size_t size, hak_record *record, uint32_t live, size_t room);
void *hak_wipe_end_slow(void *obj, const hak_granule *granule, hak_record *record, uint32_t word,
                        const char *call);

/* Whether the line that is drawn of each page of a wide slot behind its first `used` bytes is zero. */
bool hak_wipe_rest_clear(const char *obj, size_t used, size_t room);

#endif
