/* matter.h: one call of the program's on its way through the checks, and the errors that they find: their literals, and
 * whether they are to be reported. Cold. After a report the caller goes on, for the mode `report`. */
#ifndef HAK_MATTER_H
#define HAK_MATTER_H

#include "hardening/crash_report.h"
#include "hardening/ledger.h"

typedef struct hak_matter {
    const char *call;
    uintptr_t addr, caller;
    const char *not_live;   /* the literal for what is no live object's start; NULL: those of free */
    bool was_live;          /* this call has just ended it */
    const hak_claim *claim; /* what was wrongly said of the object; NULL: that is not the matter */
} hak_matter;

/* realloc, rallocx, xallocx */
HAK_INLINE bool hak_matter_resizes(const char *call) {
    return call[0] == 'r' || call[0] == 'x';
}

/* Reports it, unless the mode of the check leaves that out. `bad`: the first wrong byte, NULL: none is. */
void hak_matter_report(const hak_matter *m, const char *error, hak_check check, const char *what,
                       const void *bad);

/* The address is none that malloc has given out; is inside an object; is one of an object whose record, `word`, does
 * not say live. */
void hak_matter_not_ours(const hak_matter *m);
void hak_matter_inside(const hak_matter *m);
void hak_matter_not_live(const hak_matter *m, uint32_t word);

/* Reports what the claim says wrongly of the object with the record `word` and of `size` bytes. Whatever is claimed,
 * the object ends by its record. */
void hak_matter_check_claim(const hak_matter *m, hak_claim claim, uint32_t word, size_t size);

/* Bytes past the end of the object are not as they were; `bad`: the first. */
void hak_matter_overflow(const hak_matter *m, const void *bad);

#endif
