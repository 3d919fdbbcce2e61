/* os.h: all that the core asks of the operating system. Layer 1.
 *
 * What maps, protects or gives back memory is counted (mremap as mmap) and keeps errno; what may fail is a fault
 * injection point in debug builds. Addresses and sizes are multiples of the page size of the OS. Thread-safe without
 * a lock. */
#ifndef HAK_OS_H
#define HAK_OS_H

#include "allocator/base/base.h"

typedef struct hak_os_counters {
    _Atomic uint64_t mmap, munmap, madvise, mprotect;
} hak_os_counters;

extern hak_os_counters hak_os_counts;

/* Bytes: 4, 16 or 64 KiB, as the kernel says at run time. Valid after hak_os_init. */
extern size_t hak_os_page;

void hak_os_init(void);

/* Reserves `size` bytes of address space at a multiple of `align` (at least a page), with no access. `hint`: where
 * the caller would like it, or 0. 0 when the address space does not have it. */
uintptr_t hak_os_reserve(size_t size, size_t align, uintptr_t hint);

/* As hak_os_reserve without alignment, but readable: zeros at no cost until hak_os_commit. */
uintptr_t hak_os_reserve_zeros(size_t size);

typedef enum hak_map_result {
    HAK_MAP_DONE,
    HAK_MAP_TAKEN, /* something is there already, or nothing can be there: another address may do */
    HAK_MAP_REFUSED, /* out of memory, address space, mappings, or what may be locked: another address will not do */
} hak_map_result;

/* As hak_os_reserve_zeros, at `addr` and nowhere else. */
hak_map_result hak_os_reserve_zeros_at(uintptr_t addr, size_t size);

/* Zeroed memory to read and write, at `addr` and nowhere else. Counted by the kernel as any mapping of the program
 * is, and refused as it would be: more than memory and swap under the usual overcommit policy. When it is not done,
 * nothing has changed. */
hak_map_result hak_os_map_at(uintptr_t addr, size_t size);

/* The range is ours and stays without access, its contents are gone: nothing of it counts as memory any more. For
 * what lies inside a larger reservation. False when the OS refuses, and nothing has changed. */
bool hak_os_shut(uintptr_t addr, size_t size);

/* Makes reserved memory readable and writable; false when the OS refuses: then a part of it may be so, and is not to be
 * relied on. */
bool hak_os_commit(uintptr_t addr, size_t size);

/* Takes access away from what can be read and written; the pages keep their contents. False when the OS refuses (map
 * count), and nothing has changed. */
bool hak_os_protect(uintptr_t addr, size_t size);

/* Makes pages read-only. Best effort. */
void hak_os_seal(uintptr_t addr, size_t size);

/* No mapping in the range may be changed or taken away any more (mseal, Linux 6.10). False where the kernel has
 * none. */
bool hak_os_freeze(uintptr_t addr, size_t size);

/* Any access to the range faults from now on, and its contents are gone; and back: it reads as zero. With
 * MADV_GUARD_INSTALL (Linux 6.13) that takes no entry of the kernel's map of the process; false where the kernel has
 * none, or refuses. */
bool hak_os_guard(uintptr_t addr, size_t size);
bool hak_os_unguard(uintptr_t addr, size_t size);

/* Zeroed memory to read and write in the place of whatever is in the range, guards included. False when the OS
 * refuses: then what was there may be gone, and nothing mapped. */
bool hak_os_renew(uintptr_t addr, size_t size);

/* Zeroed memory of `size` bytes, a multiple of the page, between two pages without access; 0 when the OS refuses.
 * And its end. */
uintptr_t hak_os_map_between(size_t size);
void hak_os_unmap_between(uintptr_t addr, size_t size);

/* Gives everything in the range back, address space included. Where a filter of system calls forbids that, it stays. */
void hak_os_unmap(uintptr_t addr, size_t size);

/* The same for a part of a mapping, which the kernel refuses when it would have to split one mapping too many:
 * false, and nothing has changed. */
bool hak_os_unmap_part(uintptr_t addr, size_t size);

typedef enum hak_os_purge_how {
    HAK_PURGE_LAZY, /* MADV_FREE: the OS takes the pages when it needs them; until then old contents stay */
    HAK_PURGE_NOW,  /* MADV_DONTNEED: resident memory falls at once, the pages read as zero */
} hak_os_purge_how;

/* Gives the pages back and keeps the address space, committed. False when the OS refuses. */
bool hak_os_purge(uintptr_t addr, size_t size, hak_os_purge_how how);

/* Moves the `size` bytes at `from` to `to`, where nothing is mapped, as a mapping of `new_size` (at least `size`)
 * bytes whose rest reads as zero; nothing is mapped at `from` then. False when the kernel cannot, and nothing has
 * changed: see os_linux.c. */
bool hak_os_move(uintptr_t from, size_t size, uintptr_t to, size_t new_size);

/* Asks for huge pages in the range, where the kernel has them to give on request. Best effort. */
void hak_os_huge(uintptr_t addr, size_t size);
/* Asks for none there, of what has none yet. */
void hak_os_not_huge(uintptr_t addr, size_t size);

/* Makes a huge page of what is in the range, a huge page itself, at once; false where the kernel cannot (before
 * Linux 6.1). */
bool hak_os_collapse(uintptr_t addr, size_t size);

/* Touches the range, so that no page of it faults later. Best effort. */
void hak_os_populate(uintptr_t addr, size_t size);

/* Fills `out` with random bytes from the kernel, never blocking; weak ones (clock, addresses) where it has none. */
void hak_os_random(void *out, size_t size);

/* A random number for the place of a mapping. In debug builds with fixed numbers these are a sequence of their own:
 * how many are drawn depends on what is mapped. */
uint64_t hak_os_random_place(void);

/* Debug builds: from now on hak_os_random gives the numbers that follow from `seed`; 0: the kernel's again. For
 * reset.h. */
void hak_os_random_fix(uint64_t seed);

/* A filter of system calls (seccomp) may end the process for one that is rare. Each level has what those before it
 * have; it only rises. What malloc and free go on to ask for: mmap, munmap, mremap, mprotect, madvise, futex,
 * getrandom, getpid, gettid, rt_sigprocmask, clock_nanosleep. */
typedef enum hak_filter {
    HAK_FILTER_NONE,
    /* was there when the process began: mincore and mseal are left; what the dynamic linker did is allowed */
    HAK_FILTER_INHERITED,
    HAK_FILTER_OWN, /* the process has begun to make one: files are left, too */
} hak_filter;
extern HAK_HIDDEN _Atomic uint8_t hak_os_filter;
void hak_os_filter_raise(hak_filter level);

/* An address in each part of the address space that a program's pointers come from. */
typedef enum hak_landmark {
    HAK_LANDMARK_PROGRAM,
    HAK_LANDMARK_LIBRARY, /* this one */
    HAK_LANDMARK_LIBC,
    HAK_LANDMARK_STACK,
    HAK_OS_LANDMARKS
} hak_landmark;
void hak_os_landmarks(uintptr_t out[HAK_OS_LANDMARKS]);

/* Processors this process may run on; at least 1. */
unsigned hak_os_cpus(void);

/* Bytes of the widest vectors that the processor and the OS have and wipe.c has code for: 16, 32 (AVX2) or 64 (AVX-512
 * F, VL, DQ and BW); 16 on other machines. */
unsigned hak_os_vector_bytes(void);

/* Coarse monotonic time in milliseconds; no system call where the vDSO has it. */
uint64_t hak_os_milliseconds(void);

/* True when the process runs with raised privileges and must not trust its environment (AT_SECURE). */
bool hak_os_secure(void);

/* The environment, NULL before libc has set it. */
char **hak_os_environment(void);

/* Debug builds: the k-th memory call from now fails (1 is the next), with HAK_OS_FAIL_ON added every one from there
 * on; with HAK_OS_FAIL_LATE not before it has done what a kernel may have done when it says no (os_linux.c has that,
 * call by call); 0 turns it off. Returns how many calls the setting before this one has seen. */
#define HAK_OS_FAIL_ON   ((uint64_t)1 << 63)
#define HAK_OS_FAIL_LATE ((uint64_t)1 << 62)
uint64_t hak_os_fail_at(uint64_t k);

#endif
