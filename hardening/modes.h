/* modes.h: the name and the mode of every check and mitigation. All modes lie on one page that is read-only
 * after start.
 *
 *   HAKMEM_HARDENING=[preset:light|standard|max,]name:mode[,name:mode...]    mode: abort, report, once, off
 *
 * The default mode is abort, and once for family, size and alignment: the heap goes by its own records, never
 * by a claim, so a wrong claim does no harm (docs/decisions/034). Debug builds, and so tests, abort for these,
 * too. `report` writes the crash report and goes on as if the check were off. `once` does so for the first
 * error that the check finds at a call site, and is silent afterwards. For mitigations that prevent instead of
 * detect (quarantine, random, guard, sample, seal) report and once mean the same as abort. A line on stderr at
 * start names what is reduced. The variable is ignored when the process has raised privileges. The line
 * `hakmem: ... not understood` lists the names. */
#ifndef HAK_MODES_H
#define HAK_MODES_H

#include "allocator/base/check.h"
#include "allocator/base/lock.h"

typedef enum hak_check {
    HAK_CHECK_FREE,   /* double, interior, misaligned, foreign frees; the same for realloc and usable size */
    HAK_CHECK_FAMILY, /* malloc, new, new[] */
    HAK_CHECK_SIZE,   /* sized frees */
    HAK_CHECK_ALIGNMENT,  /* aligned frees */
    HAK_CHECK_CANARY,     /* overflows, when the object is freed or resized */
    HAK_CHECK_NEIGHBOURS, /* the object before a freed one */
    HAK_CHECK_SWEEP,      /* a few objects at each refill, and everything at exit */
    HAK_CHECK_ZERO,       /* zero on free; without it freed bytes cannot be checked */
    HAK_CHECK_WRITE,      /* freed bytes are still zero when the slot is reused, and at exit */
    HAK_CHECK_QUARANTINE,
    HAK_CHECK_RANDOM,
    HAK_CHECK_GUARD,
    HAK_CHECK_SAMPLE,
    HAK_CHECK_SEAL,
    HAK_CHECKS
} hak_check;

typedef enum hak_mode { HAK_MODE_ABORT, HAK_MODE_REPORT, HAK_MODE_ONCE, HAK_MODE_OFF } hak_mode;

struct hak_granule;

/* Functions that zero and check bytes: wipe.h. */
typedef struct hak_wipe_calls {
    void (*clear)(char *p, size_t size);
    bool (*is_clear)(const char *p, size_t size);
    /* Clears the first `used` bytes of a slot of `room` bytes if the others are zero. Else returns false and
     * changes nothing. */
    bool (*finish)(char *p, size_t used, size_t room);
} hak_wipe_calls;

/* All that does not change after start. Written by init code only, then sealed (seal.h). */
typedef struct hak_hardening_page {
    uint64_t canary_keys[4]; /* the second and the fourth are odd */
    uint64_t sample_salt;
    uint32_t sample_period;  /* about one allocation in so many is sampled; 0: none */
    bool sample_period_set;  /* set by HAKMEM_SAMPLE_RATE */
    uint32_t quarantine_kib; /* most KiB of a thread's quarantine, all classes together */
    bool canary, neighbours, zero, verify, quarantine, random; /* for the fast paths: the mode is not off */
    bool guard;
#if defined(__aarch64__)
    bool mte; /* slots have memory tags: mte.h */
#endif
    uint8_t mode[HAK_CHECKS]; /* hak_mode */
    /* The ends of the two fast paths, chosen at start (wipe.c) by the processor and by what is reduced: `reuse`
     * makes a freed slot live, `end` frees a verified slot; see wipe.h. They lie here because jump targets must
     * not be writable. */
    void *(*reuse)(void *obj, size_t size, _Atomic uint32_t *record, uint32_t live, size_t room);
    void *(*end)(void *obj, const struct hak_granule *granule, _Atomic uint32_t *record, uint32_t word,
                 const char *call);
    hak_wipe_calls wipe;
#if defined(__aarch64__)
    /* The same two for slots without memory tags, while `mte` has put its own in their place. */
    void *(*reuse_plain)(void *obj, size_t size, _Atomic uint32_t *record, uint32_t live, size_t room);
    void *(*end_plain)(void *obj, const struct hak_granule *granule, _Atomic uint32_t *record, uint32_t word,
                       const char *call);
#endif
    void (*give)(void *obj, unsigned cls); /* gives an object of a class to its depot */
    /* The typed heap (typed.h): odd keys; the number of partitions; how many of them, the first ones, are for
     * types without pointers; whether untyped allocations have a partition, too. */
    uint64_t partition_keys[2];
    uint8_t partitions, partitions_of_data;
    bool partitions_by_site;
    char report_path[256]; /* HAKMEM_REPORT_PATH; "": no copy */
    bool report_json;      /* HAKMEM_REPORT_JSON=1 */
} hak_hardening_page;

enum { HAK_SEALED_BYTES = 4096 };
_Static_assert(sizeof(hak_hardening_page) <= HAK_SEALED_BYTES, "one page");

typedef union hak_hardening_sealed {
    hak_hardening_page page;
    char bytes[HAK_SEALED_BYTES];
} hak_hardening_sealed;

extern HAK_HIDDEN hak_hardening_sealed hak_hardening_data;
#define hak_hardening hak_hardening_data.page

/* The one lock of hardening/. It guards the states of threads, sampled objects, and large objects in
 * quarantine. Sections are short; the only system call under it is the commit of more records. */
extern hak_lock hak_hardening_lock;

/* Reads the options. Called once, before anything else of hardening/. */
void hak_modes_init(void);

/* The name of the check in HAKMEM_HARDENING. */
const char *hak_check_name(hak_check check);

HAK_INLINE hak_mode hak_mode_of(hak_check check) {
    return (hak_mode)hak_hardening.mode[check];
}

/* True when a report of the check ends the process. */
HAK_INLINE bool hak_mode_ends(hak_check check) {
    return hak_mode_of(check) == HAK_MODE_ABORT || hak_mode_of(check) == HAK_MODE_OFF;
}

#endif
