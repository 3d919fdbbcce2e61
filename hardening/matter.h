/* matter.h: a matter, which is one call of the program on its way through the checks, and the errors that
 * checks find: their literals, and whether they are reported. Cold. After a report the caller goes on, for the
 * mode `report`. */
#ifndef HAK_MATTER_H
#define HAK_MATTER_H

#include "hardening/crash_report.h"
#include "hardening/ledger.h"

typedef struct hak_matter {
    const char *call;
    uintptr_t addr, caller;
    const char
        *not_live; /* the literal when the address is not that of a live object; NULL: the literals of free */
    bool was_live; /* this call has just freed the object */
    const hak_claim *claim; /* the wrong claim; NULL: the claim is not the error */
} hak_matter;

/* True for realloc, rallocx and xallocx. */
HAK_INLINE bool hak_matter_resizes(const char *call) {
    return call[0] == 'r' || call[0] == 'x';
}

/* Reports the error, unless the mode of the check excludes that. `bad`: the first wrong byte; NULL: none. */
void hak_matter_report(const hak_matter *m, const char *error, hak_check check, const char *what,
                       const void *bad);

/* Report that the address never came from malloc; that it is inside an object; that it is the address of an
 * object which is not live, by its record `word`. */
void hak_matter_not_ours(const hak_matter *m);
void hak_matter_inside(const hak_matter *m);
void hak_matter_not_live(const hak_matter *m, uint32_t word);

/* Reports what the claim says wrongly about an object with the record `word` and `size` bytes. The object is
 * freed by its record, whatever the claim says. */
void hak_matter_check_claim(const hak_matter *m, hak_claim claim, uint32_t word, size_t size);

/* Reports that bytes past the end of the object have changed; `bad`: the first one. */
void hak_matter_overflow(const hak_matter *m, const void *bad);

#endif
