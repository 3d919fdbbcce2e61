/* os_process.h: calls of the OS about this process, for crash reports and others. Layer 1.
 *
 * Everything here is async-signal-safe, allocates nothing, keeps errno and is no cancellation point. */
#ifndef HAK_OS_PROCESS_H
#define HAK_OS_PROCESS_H

#include "allocator/base/base.h"

unsigned hak_os_pid(void);
unsigned hak_os_tid(void);

/* Copies `size` bytes from `from`. Returns how many were readable, from the front. Does not fault, unless the
 * memory is unmapped meanwhile. */
size_t hak_os_read(void *out, uintptr_t from, size_t size);

/* The limit of the process for address space or for data (RLIMIT_AS, RLIMIT_DATA), whichever is lower, in bytes;
 * SIZE_MAX: none. */
size_t hak_os_limit(void);
/* True when there is one. */
bool hak_os_limited(void);

/* True when all writable mappings count as memory in use, touched or not (vm.overcommit_memory 2): against a
 * limit for all processes, and once more in a fork. The answer is that of the first call, at the start of the
 * allocator. */
bool hak_os_strict(void);

/* True when the kernel makes huge pages of any memory (transparent_hugepage/enabled is "always"), and not only of
 * memory for which hak_os_huge asks. The answer is that of the first call, at the start of the allocator; false where
 * the kernel does not say. Tests set it. */
typedef enum hak_os_huge_mode { HAK_HUGE_UNKNOWN, HAK_HUGE_ASKED, HAK_HUGE_ALWAYS } hak_os_huge_mode;
extern _Atomic hak_os_huge_mode hak_os_huge_known;
bool hak_os_huge_unasked(void);

/* Most mappings that the process may have: vm.max_map_count, which may be small. */
enum { HAK_OS_MAPS_USUAL = 65530 }; /* when the kernel does not say */
unsigned hak_os_maps_allowed(void);

/* Opens an existing file to read; -1: it cannot be opened. */
int hak_os_open(const char *path);
/* Reads at most `size` bytes. Returns how many; 0 at the end and on error. */
size_t hak_os_load(int file, char *out, size_t size);
void hak_os_close(int file);

/* Reads a whole file of at most `size` bytes that only root can have written. Returns 0 when there is no such
 * file. *why: the reason why the file is not trusted, else NULL. */
size_t hak_os_load_trusted(const char *path, char *out, size_t size, const char **why);

enum { HAK_OS_PATH_MOST = 4096 };
/* The path of this process's executable. False: unknown. */
bool hak_os_executable(char out[HAK_OS_PATH_MOST]);

/* Between shut and open nothing interrupts the calling thread except faults of its own instructions: no handler
 * and no cancellation. `before` is the old signal mask, one bit per signal. */
void hak_os_signals_shut(uint64_t *before);
void hak_os_signals_open(const uint64_t *before);
/* While signals are blocked: unblocks those that libc keeps for itself. */
void hak_os_signals_libc(void);
/* While signals are blocked: drops a pending SIGPIPE or SIGXFSZ that a write has raised. */
void hak_os_signals_drop(void);

void hak_os_sleep(unsigned milliseconds);

/* Defined where prctl is ours (shim_libc.c, shim_static.c). */
extern HAK_HIDDEN const char hak_prctl_is_ours[1];
/* At the end of the start. Where prctl is not ours, as in a library that the program opens itself, a filter of the
 * program's own would come without notice: from now on there are no rare calls. */
void hak_os_filter_expect(void);
/* Raises hak_os_filter if the process began with a filter. Opens a file, a call that the dynamic linker has
 * just made, too. False: nobody can tell; there may be a filter. */
bool hak_os_filter_look(void);
/* True when no filter may kill the process for a rare call. Looks for one until it is known; while one thread looks,
 * the others get false. */
bool hak_os_unfiltered(void);

/* When it returns true, each other thread of the process has passed a full memory barrier since the call: what it did
 * before that is seen here, and what was done here before the call is seen by what it does after that. False: the OS
 * cannot do it, or a filter of system calls might forbid it. Keeps errno. */
bool hak_os_barrier(void);

/* True when the OS can be asked which pages are resident. May open a file that stays open, so only at exit. */
bool hak_os_resident_known(void);
/* The same, without opening a file. */
bool hak_os_resident_told(void);
/* For up to 64 pages from `addr` on, bit i of the result: page i is resident and readable. 0 where the OS does
 * not say. */
uint64_t hak_os_resident(uintptr_t addr, unsigned pages);
/* The number of resident pages in the range, at most 2 MiB of mapped memory. Uses mincore: only where
 * hak_os_resident_told(). */
size_t hak_os_resident_count(uintptr_t addr, size_t size);

/* True when all pages of the range are mapped, with any access. */
bool hak_os_is_mapped(uintptr_t addr, size_t size);

/* Finds the code of the module (program or library) that contains the address. False: unknown. Not for signal
 * handlers. */
bool hak_os_code_of(uintptr_t addr, uintptr_t *start, uintptr_t *end);

/* Signals that programs leave to their users: SIGUSR1, SIGUSR2, and from the third on SIGRTMIN + n. */
typedef unsigned hak_os_signal;
enum { HAK_OS_SIGNAL_NONE, HAK_OS_SIGNAL_USR1, HAK_OS_SIGNAL_USR2, HAK_OS_SIGNAL_RTMIN };

/* Installs `handler` for the signal, on the stack that the program has for handlers; system calls restart after
 * it. A later action of the program replaces it. Called once. False: the process handles or ignores the signal. */
bool hak_os_on_signal(hak_os_signal which, void (*handler)(void));

/* A fault of the processor at memory that it may not access. */
typedef struct hak_fault {
    uintptr_t addr;  /* 0: the kernel does not say */
    uintptr_t at;    /* the instruction; 0: not known on this machine */
    uintptr_t frame; /* the frame pointer */
    int is_write;    /* -1: not known */
#if defined(__aarch64__)
    bool is_tag; /* the memory has another tag than the pointer */
    uint8_t tag; /* the pointer's; `addr` is without it */
#endif
} hak_fault;

typedef enum hak_fault_verdict {
    HAK_FAULT_GOES_ON, /* the instruction is repeated, if the previous action is the default */
    HAK_FAULT_ENDS,    /* the process must end even if the instruction would succeed now */
    HAK_FAULT_MENDED,  /* the instruction will succeed now: no other handler is called */
} hak_fault_verdict;

/* Calls `handler` for each such fault, and then the previous action. Called once. A signal that is ignored at
 * that time is left alone. */
void hak_os_on_fault(hak_fault_verdict (*handler)(const hak_fault *fault));

#endif
