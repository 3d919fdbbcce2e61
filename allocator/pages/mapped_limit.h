/* mapped_limit.h: whether a limit counts what the process has mapped, and how much free memory may stay mapped
 * then. Layer 2.
 *
 * Under such a limit (RLIMIT_AS, RLIMIT_DATA, vm.overcommit_memory 2) memory that is free here is refused to others:
 * stacks of threads, libraries, mappings of the program. So there free memory beyond a small share is unmapped instead
 * of purged. A limit may come, change and go at any time, also from outside; who makes a pass over idle memory looks.
 * Any thread may call the functions here, with any lock. */
#ifndef HAK_MAPPED_LIMIT_H
#define HAK_MAPPED_LIMIT_H

#include "allocator/pages/size_class.h"

/* Bytes of free memory that may stay mapped, of slabs and of large spans each, even if nothing is live; SIZE_MAX: there
 * is no limit. */
extern _Atomic size_t hak_limit_share;

HAK_INLINE bool hak_limit_is_there(void) {
    return atomic_load_explicit(&hak_limit_share, memory_order_relaxed) != SIZE_MAX;
}

/* Asks the OS. True: there is a limit, and there was none or a higher one when this was called last. Where a filter may
 * kill the process for asking, nothing changes. */
bool hak_limit_look(void);

/* Debug builds: as hak_limit_look, as if the OS had answered `bytes` now and later; SIZE_MAX: no limit, and the OS is
 * asked again. */
bool hak_limit_set(size_t bytes);

/* The most bytes of free memory that may stay mapped where so many are live; SIZE_MAX: there is no limit. */
size_t hak_limit_most(size_t live);

/* True when free memory is to be unmapped, not purged, where there are `gaps` gaps in our mappings now: under a limit,
 * until the gaps take more than a small part of the mappings that the process may have. */
bool hak_limit_unmaps(size_t gaps);

enum {
    HAK_LIMIT_TIGHT = 64 * HAK_MIB, /* bytes of a share: slots of all classes keep less mapped */
    HAK_LIMIT_COSTLY_SLOT = 8 * HAK_KIB,
    HAK_LIMIT_COSTLY_SLAB = 512 * HAK_KIB,
};

/* True under a limit that a few dozen slabs are a part of. */
HAK_INLINE bool hak_limit_is_tight(void) {
    return atomic_load_explicit(&hak_limit_share, memory_order_relaxed) < HAK_LIMIT_TIGHT;
}

/* True for a class of which a single slot keeps much from being unmapped: its whole slab. Under a tight limit such
 * slots rest in no cache and in no quarantine; a lock costs little beside the use of such a slot. */
HAK_INLINE bool hak_limit_is_costly(unsigned cls) {
    return hak_limit_is_tight() && (hak_classes[cls].size >= HAK_LIMIT_COSTLY_SLOT ||
                                    hak_classes[cls].slab_bytes >= HAK_LIMIT_COSTLY_SLAB);
}

#endif
