/* guard.h: memory that faults: both ends of each slab, the space between large objects, and freed large objects.
 *
 *   slab    | slot | slot | ... | slot |guard|      large   | object ......|guard | gap: guard |object ...
 *
 * Uses MADV_GUARD_INSTALL where the kernel has it, which takes no entry in the kernel's map of the process. Elsewhere
 * uses PROT_NONE, which splits mappings, until a fifth of the usual vm.max_map_count is used up. A guarded page loses
 * its contents and its memory. To guard resident pages costs a flush of the processors' translation buffers (2 to
 * 60 us). So freed large objects are guarded at once only while that takes no more than a twentieth of the time;
 * otherwise they are purged and rest unguarded (keep.h). While there is no time for guards, the guard behind a live
 * object may also stay where it lies, up to a quarter of the object away; the canary has room in any case. */
#ifndef HAK_GUARD_H
#define HAK_GUARD_H

#include "hardening/ledger.h"

enum { HAK_GUARD_GAP_MOST = 4 }; /* granules behind a large object: 1 to so many, at random */

void hak_guard_init(void);
void hak_guard_reset(void); /* debug builds: no guard was made */

/* True when guards take no entry of the kernel's map: hak_os_guard and hak_os_unguard work. */
bool hak_guard_has_markers(void);

/* Counts mappings that guards and sampled objects use up: at most a fifth of what the process may have. False: `so
 * many` would be too many. */
bool hak_guard_maps_take(unsigned count);
void hak_guard_maps_give(unsigned count);

/* Notes that address space is scarce: the kernel has refused some, or limited the process before it began. From
 * now on a guard of one page follows a large object instead of a gap of random length, which counts against the
 * limit like any memory. */
void hak_guard_scarce(void);
bool hak_guard_is_scarce(void);

/* Bytes at the end of each slab: one page, where pages are small enough. */
size_t hak_guard_slab_bytes(void);

/* Sets the guards of a slab that has none. */
void hak_guard_slab(const hak_slab *slab);

/* Removes the slab's own guard until hak_guard_slab. False: it has none, or the OS refused. */
bool hak_guard_slab_open(const hak_slab *slab);

/* Notes that free granules were unmapped or mapped again, so their guards are gone. */
void hak_guard_hollowed(const hak_region *region, uintptr_t start, size_t size);

/* Makes the first `capacity` bytes of a live object accessible, and guards the rest of its span except the
 * record's slack. False: the OS refused access; nothing has changed. */
bool hak_guard_large_live(void *obj, size_t capacity);

/* Removes guards of either kind; the memory reads as zero. False: the OS refused. */
bool hak_guard_open(uintptr_t addr, size_t size);

/* True when there is time to guard large objects exactly. Uses none of that time. */
bool hak_guard_at_leisure(void);

/* A guard `open` bytes from the start of an object is near enough to one of `capacity` bytes, while there is no
 * time. */
static inline bool hak_guard_near(size_t capacity, size_t open) {
    return capacity <= open && open - capacity <= capacity / 4;
}

/* True when so many bytes of freed memory should be unmapped, not guarded or purged. A guard's marker takes an entry of
 * the page tables for each page, whether that was ever touched or not. A purge leaves markers and page tables, and each
 * fork copies them: some 30 us a MiB. But a gap in a mapping takes an entry of the kernel's map of the process. So long
 * ranges are unmapped, and shorter ones while there are few gaps: a twentieth of what the process may have. */
bool hak_guard_unmaps(size_t bytes);
/* True when a range of so many bytes may become a gap, if there is a reason to unmap it. */
bool hak_guard_may_unmap(size_t bytes);
/* True when there are few gaps. */
bool hak_guard_gaps_left(void);

/* Makes a freed object inaccessible: unmaps it (hak_large_is_empty) or guards it. False: it cannot be done now. */
bool hak_guard_large_freed(void *obj);

#endif
