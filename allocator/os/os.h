/* os.h: all that the core asks of the operating system. Layer 1.
 *
 * Functions that map, protect, purge or unmap memory count their system calls (mremap as mmap) and keep errno.
 * Those that may fail are fault injection points in debug builds. Addresses and sizes are multiples of the page
 * size of the OS. Thread-safe without a lock. */
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

/* Reserves `size` bytes of address space at a multiple of `align` (at least a page), without access. `hint`:
 * the preferred address, or 0. Returns 0 when there is no such range of addresses. */
uintptr_t hak_os_reserve(size_t size, size_t align, uintptr_t hint);

/* As hak_os_reserve without alignment, but readable: it reads as zero and costs no memory until hak_os_commit. */
uintptr_t hak_os_reserve_zeros(size_t size);

typedef enum hak_map_result {
    HAK_MAP_DONE,
    HAK_MAP_TAKEN,   /* the range is in use or cannot be mapped: another address may do */
    HAK_MAP_REFUSED, /* no memory, address space, mappings or lockable memory left: no address will do */
} hak_map_result;

/* As hak_os_reserve_zeros, but only at `addr`. */
hak_map_result hak_os_reserve_zeros_at(uintptr_t addr, size_t size);

/* Maps zeroed memory to read and write, only at `addr`. The kernel counts it like any mapping of the program,
 * and refuses it like one: for example more than memory and swap under the usual overcommit policy. On failure
 * nothing has changed. */
hak_map_result hak_os_map_at(uintptr_t addr, size_t size);

/* Removes access to the range and drops its contents, so that none of it counts as memory any more. The range
 * stays ours. For a part of a larger reservation. False: the OS refused, and nothing has changed. */
bool hak_os_shut(uintptr_t addr, size_t size);

/* Makes reserved memory readable and writable. False: the OS refused; a part may be accessible, but callers
 * must not rely on it. */
bool hak_os_commit(uintptr_t addr, size_t size);

/* Removes access to readable and writable memory; the pages keep their contents. False: the OS refused (limit
 * of mappings), and nothing has changed. */
bool hak_os_protect(uintptr_t addr, size_t size);

/* Makes pages read-only. Best effort. */
void hak_os_seal(uintptr_t addr, size_t size);

/* No mapping in the range may be changed or unmapped any more (mseal, Linux 6.10). False: the kernel has no
 * mseal. */
bool hak_os_freeze(uintptr_t addr, size_t size);

/* hak_os_guard drops the contents of the range, and any access to it faults from now on. hak_os_unguard makes
 * it accessible again; it reads as zero. MADV_GUARD_INSTALL (Linux 6.13) needs no mapping of its own for that.
 * False: the kernel has no such guards, or refuses. */
bool hak_os_guard(uintptr_t addr, size_t size);
bool hak_os_unguard(uintptr_t addr, size_t size);

/* Maps zeroed memory to read and write in place of everything in the range, guards included. False: the OS
 * refused; the old contents may be gone, and the range may be unmapped. */
bool hak_os_renew(uintptr_t addr, size_t size);

/* hak_os_map_between maps `size` bytes (a multiple of the page) of zeroed memory between two pages without
 * access; 0: the OS refused. Beyond some thousands of such ranges the two pages may be accessible: see os_linux.c.
 * hak_os_unmap_between unmaps them all. */
uintptr_t hak_os_map_between(size_t size);
void hak_os_unmap_between(uintptr_t addr, size_t size);

/* Unmaps the range, address space included. Where a filter of system calls forbids munmap, the range stays
 * mapped. */
void hak_os_unmap(uintptr_t addr, size_t size);

/* The same for a part of a mapping. False: the kernel would have to split a mapping and has no mapping left;
 * nothing has changed. */
bool hak_os_unmap_part(uintptr_t addr, size_t size);

typedef enum hak_os_purge_how {
    HAK_PURGE_LAZY, /* MADV_FREE: the OS takes the pages when it needs them; until then the contents stay */
    HAK_PURGE_NOW,  /* MADV_DONTNEED: resident memory falls at once, the pages read as zero */
} hak_os_purge_how;

/* Purges the pages; the range stays committed. False: the OS refused. */
bool hak_os_purge(uintptr_t addr, size_t size, hak_os_purge_how how);

/* Moves the `size` bytes at `from` to `to`, where nothing is mapped. The new mapping has `new_size` bytes (at
 * least `size`), and its rest reads as zero. Nothing is mapped at `from` afterwards. False: the kernel cannot
 * move them, and nothing has changed; see os_linux.c. */
bool hak_os_move(uintptr_t from, size_t size, uintptr_t to, size_t new_size);

/* Asks for huge pages in the range, where the kernel gives them on request. Best effort. */
void hak_os_huge(uintptr_t addr, size_t size);
/* Asks for no huge pages in the range; present huge pages stay. */
void hak_os_not_huge(uintptr_t addr, size_t size);

/* Makes a huge page of the range at once; the range has the size and the alignment of one. False: the kernel
 * cannot (before Linux 6.1). */
bool hak_os_collapse(uintptr_t addr, size_t size);

/* Touches the range, so that none of its pages faults later. Best effort. */
void hak_os_populate(uintptr_t addr, size_t size);

/* Makes the pages of mapped memory resident and writable, their contents unchanged (MADV_POPULATE_WRITE, Linux 5.14).
 * False: the kernel cannot do it, or there is no memory; some pages may be resident now. */
bool hak_os_fault_in(uintptr_t addr, size_t size);

/* Fills `out` with random bytes from the kernel. Never blocks. Where the kernel has none, the bytes are weak
 * (clock, addresses). */
void hak_os_random(void *out, size_t size);

/* A random number for the place of a mapping. With fixed numbers in debug builds it has its own sequence,
 * because the number of draws depends on what is mapped. */
uint64_t hak_os_random_place(void);

/* Debug builds: from now on the numbers of hak_os_random follow from `seed`; 0: they come from the kernel
 * again. For reset.h. */
void hak_os_random_fix(uint64_t seed);

/* A filter of system calls (seccomp) may end the process for a rare call. Each level avoids what the levels
 * before it avoid, and more; the level only rises. malloc and free use at every level: mmap, munmap, mremap,
 * mprotect, madvise, futex, getrandom, getpid, gettid, rt_sigprocmask, clock_nanosleep. */
typedef enum hak_filter {
    HAK_FILTER_NONE,
    /* the process began with a filter: no mincore, mseal and membarrier. The dynamic linker's calls are allowed. */
    HAK_FILTER_INHERITED,
    HAK_FILTER_OWN, /* the process has begun to make a filter: no files either */
} hak_filter;
extern HAK_HIDDEN _Atomic uint8_t hak_os_filter;
void hak_os_filter_raise(hak_filter level);

/* One address in each part of the address space to which a program's pointers point. */
typedef enum hak_landmark {
    HAK_LANDMARK_PROGRAM,
    HAK_LANDMARK_LIBRARY, /* this one */
    HAK_LANDMARK_LIBC,
    HAK_LANDMARK_STACK,
    HAK_OS_LANDMARKS
} hak_landmark;
void hak_os_landmarks(uintptr_t out[HAK_OS_LANDMARKS]);

/* Number of processors on which this process may run; at least 1. */
unsigned hak_os_cpus(void);

/* Bytes of the widest vectors that the processor, the OS and the code of wipe.c support: 16, 32 (AVX2) or 64
 * (AVX-512 F, VL, DQ and BW); 16 on other machines. */
unsigned hak_os_vector_bytes(void);

/* Coarse monotonic time in milliseconds. Makes no system call where the vDSO has the clock. */
uint64_t hak_os_milliseconds(void);

/* True when the process runs with raised privileges and must not trust its environment (AT_SECURE). */
bool hak_os_secure(void);

/* The environment; NULL: libc has not set it yet. */
char **hak_os_environment(void);

/* Debug builds: the k-th memory call from now on fails (1: the next one); 0: none fails. HAK_OS_FAIL_ON: every
 * later call fails, too. HAK_OS_FAIL_LATE: the call fails only after it has changed as much as a failing kernel
 * may have changed (os_linux.c describes that for each call). Returns the number of calls under the previous
 * setting. */
#define HAK_OS_FAIL_ON   ((uint64_t)1 << 63)
#define HAK_OS_FAIL_LATE ((uint64_t)1 << 62)
uint64_t hak_os_fail_at(uint64_t k);

#endif
