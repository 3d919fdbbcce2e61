/* os_process.h: what crash reports ask of the operating system. Layer 1.
 *
 * Everything here is async-signal-safe, allocates nothing, keeps errno and is no cancellation point. */
#ifndef HAK_OS_PROCESS_H
#define HAK_OS_PROCESS_H

#include "allocator/base/base.h"

unsigned hak_os_pid(void);
unsigned hak_os_tid(void);

/* Copies `size` bytes from `from`; returns how many could be read, from the front. Does not fault, unless the memory
 * goes while it is read. */
size_t hak_os_read(void *out, uintptr_t from, size_t size);

/* Whether address space or data of the process has a limit (RLIMIT_AS, RLIMIT_DATA). */
bool hak_os_limited(void);

/* Whether all that is mapped to be written counts as memory in use, touched or not (vm.overcommit_memory 2): against
 * all processes' limit, and once more in a fork. As it was at the first call, when the allocator starts. */
bool hak_os_strict(void);

/* Mappings that the process may have: vm.max_map_count, which may be small. */
enum { HAK_OS_MAPS_USUAL = 65530 }; /* where the kernel does not say */
unsigned hak_os_maps_allowed(void);

/* An existing file to read, -1 when it cannot be. */
int hak_os_open(const char *path);
/* At most `size` bytes; 0 at the end and on error. */
size_t hak_os_load(int file, char *out, size_t size);
void hak_os_close(int file);

/* All of a file of at most `size` bytes that nobody but root can have written; 0 when there is none, or it is not to
 * be trusted: then *why is the reason, else NULL. */
size_t hak_os_load_trusted(const char *path, char *out, size_t size, const char **why);

enum { HAK_OS_PATH_MOST = 4096 };
/* The path of this process's executable; false: not known. */
bool hak_os_executable(char out[HAK_OS_PATH_MOST]);

/* From shut to open nothing interrupts the calling thread but what its own instructions raise: no handler, no
 * cancellation. `before` is what was shut before, a bit per signal. */
void hak_os_signals_shut(uint64_t *before);
void hak_os_signals_open(const uint64_t *before);
/* While they are shut: opens those that libc keeps for itself. */
void hak_os_signals_libc(void);
/* While they are shut: forgets what a write has raised, SIGPIPE or SIGXFSZ. */
void hak_os_signals_drop(void);

void hak_os_sleep(unsigned milliseconds);

/* Raises hak_os_filter when the process began with a filter. Opens a file, as the dynamic linker just did. */
void hak_os_filter_look(void);

/* Whether the OS may be asked what is resident; may open a file, which stays open: at exit only. */
bool hak_os_resident_known(void);
/* The same, without a file. */
bool hak_os_resident_told(void);
/* Bit i of the answer, for up to 64 pages from `addr` on: the page is resident, and may be read. None where the OS
 * does not say. */
uint64_t hak_os_resident(uintptr_t addr, unsigned pages);
/* How many pages of the range, up to 2 MiB of mapped memory, are resident; by mincore: only where
 * hak_os_resident_told(). */
size_t hak_os_resident_count(uintptr_t addr, size_t size);

/* True when all pages of the range are mapped, with whatever access. */
bool hak_os_is_mapped(uintptr_t addr, size_t size);

/* The code of the object (program or library) that the address lies in; false when it is not known. Not in a signal
 * handler. */
bool hak_os_code_of(uintptr_t addr, uintptr_t *start, uintptr_t *end);

/* Signals that programs leave to their users: SIGUSR1, SIGUSR2, and from the third on SIGRTMIN + n. */
typedef unsigned hak_os_signal;
enum { HAK_OS_SIGNAL_NONE, HAK_OS_SIGNAL_USR1, HAK_OS_SIGNAL_USR2, HAK_OS_SIGNAL_RTMIN };

/* Has `handler` called at that signal, with the stack that the program has for handlers; calls that can go on after
 * it do. Whoever sets another action later takes this one's place. Once. False: the process handles or ignores it. */
bool hak_os_on_signal(hak_os_signal which, void (*handler)(void));

/* What the processor was doing when it met memory that it may not touch. */
typedef struct hak_fault {
    uintptr_t addr;  /* 0: the kernel does not say */
    uintptr_t at;    /* the instruction; 0: not known on this machine */
    uintptr_t frame; /* the frame pointer */
    int is_write;    /* -1: not known */
} hak_fault;

typedef enum hak_fault_verdict {
    HAK_FAULT_GOES_ON, /* the instruction is tried again when the action before is the default */
    HAK_FAULT_ENDS,    /* the process shall end even if it would succeed now */
    HAK_FAULT_MENDED,  /* nobody else hears of it: it will succeed now */
} hak_fault_verdict;

/* Has `handler` called for each such fault, and afterwards the action that was there before. Once. A signal that is
 * ignored at that time is left alone. */
void hak_os_on_fault(hak_fault_verdict (*handler)(const hak_fault *fault));

#endif
