/* os_keep.h: keeps memory between the inputs of a fuzzer, so that an input needs no system calls for memory
 * that an earlier input got. Layer 1. Debug builds only; os_linux.c asks here before it calls the kernel.
 *
 * Fresh pages are the main cost of an input: a page fault or a flush of translation buffers takes 10 to 150 us
 * on a virtual machine. With keeping on, accessible memory stays accessible, and memory that would be given
 * back or guarded is zeroed in place instead, as far as it is resident. A program sees one difference: guards
 * do not fault. HAK_KEEP_GUARDS has guards that do. The clock is also simulated. */
#ifndef HAK_OS_KEEP_H
#define HAK_OS_KEEP_H

#include "allocator/os/os.h"

typedef enum hak_keep_how {
    HAK_KEEP_NOTHING, /* every call goes to the kernel */
    HAK_KEEP_ALL,
    HAK_KEEP_GUARDS, /* as HAK_KEEP_ALL, but with the kernel's guards and protection */
} hak_keep_how;

/* Also sets the clock to its start. A change to HAK_KEEP_NOTHING forgets what was kept. */
void hak_os_keep(hak_keep_how how); /* no other thread uses the allocator */

/* Asked first by each call of os.h: true when no call of the kernel is needed. `open`: accessible. */
bool hak_os_keep_protect(uintptr_t addr, size_t size, bool open);
bool hak_os_keep_purge(uintptr_t addr, size_t size, hak_os_purge_how how);
bool hak_os_keep_hollow(uintptr_t addr, size_t size);
bool hak_os_keep_guard(uintptr_t addr, size_t size);
bool hak_os_keep_unguard(void);

/* True for more than a fixed size, because the kernel's answer would depend on the machine and its state. */
bool hak_os_keep_refuses(size_t size);

/* True when some of the range is kept. */
bool hak_os_keep_some(uintptr_t addr, size_t size);

/* True when only an earlier input has opened the memory at the address: to this input it is not readable. */
bool hak_os_keep_left(uintptr_t addr);

/* Unmaps what is kept of the range, whose owner ends. */
void hak_os_keep_drop(uintptr_t addr, size_t size);

/* True when anything is kept. */
bool hak_os_keeps(void);

/* From now on the clock is simulated also while nothing is kept, so that what depends on time repeats. */
void hak_os_keep_own_clock(void);

/* Stores the simulated time, which advances by CLOCK_STEP ms per call. False: the clock is the kernel's. */
bool hak_os_keep_clock(uint64_t *milliseconds);

/* Advances the simulated clock. */
void hak_os_keep_pass(uint64_t milliseconds);

/* Notes that the kernel has made the range accessible, or inaccessible, or has unmapped it. */
void hak_os_keep_note(uintptr_t addr, size_t size, bool open);

/* Zeroes the resident pages of committed memory, so that all of it reads as zero and no page comes or goes. */
void hak_os_scrub(uintptr_t addr, size_t size);

#endif
