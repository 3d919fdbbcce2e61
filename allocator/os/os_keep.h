/* os_keep.h: the OS as a fuzzer asks it between inputs: what the process got once it keeps, and gets again without a
 * call. Layer 1. Debug builds only; os_linux.c asks here before it calls the kernel.
 *
 * Fresh pages are what an input costs most: a page fault or a flush of translation buffers takes 10 to 150 us on a
 * virtual machine. While keeping is on, what was made accessible stays so, and what would be given back or guarded is
 * zeroed in place instead, as far as it is resident. A program sees no difference, but that what is guarded does not
 * fault; HAK_KEEP_GUARDS has guards that do. And time is what an input makes it. */
#ifndef HAK_OS_KEEP_H
#define HAK_OS_KEEP_H

#include "allocator/os/os.h"

typedef enum hak_keep_how {
    HAK_KEEP_NOTHING, /* as the kernel has it */
    HAK_KEEP_ALL,
    HAK_KEEP_GUARDS, /* as HAK_KEEP_ALL, but guards and protection are the kernel's */
} hak_keep_how;

/* Also sets the clock to its start. A change to HAK_KEEP_NOTHING forgets what was kept. */
void hak_os_keep(hak_keep_how how); /* no other thread uses the allocator */

/* What each call of os.h asks first: true when it is done without the kernel. `open`: accessible. */
bool hak_os_keep_protect(uintptr_t addr, size_t size, bool open);
bool hak_os_keep_purge(uintptr_t addr, size_t size, hak_os_purge_how how);
bool hak_os_keep_hollow(uintptr_t addr, size_t size);
bool hak_os_keep_guard(uintptr_t addr, size_t size);
bool hak_os_keep_unguard(void);

/* More than a fixed size is refused: what the kernel says depends on the machine, and on how much of it is there
 * already. */
bool hak_os_keep_refuses(size_t size);

/* Whether some of the range is kept. */
bool hak_os_keep_some(uintptr_t addr, size_t size);

/* Whether anything is kept. */
bool hak_os_keeps(void);

/* From now on the clock is ours while nothing is kept, too: what goes by time then is the same each time. */
void hak_os_keep_own_clock(void);

/* The clock: every look at it is CLOCK_STEP ms later than the last. False: it is the kernel's. */
bool hak_os_keep_clock(uint64_t *milliseconds);

/* So many milliseconds pass at once on our clock. */
void hak_os_keep_pass(uint64_t milliseconds);

/* The kernel has made the range accessible, or not, or taken it away. */
void hak_os_keep_note(uintptr_t addr, size_t size, bool open);

/* Zeroes the resident pages of committed memory: all of it then reads as zero, and no page has come or gone. */
void hak_os_scrub(uintptr_t addr, size_t size);

#endif
