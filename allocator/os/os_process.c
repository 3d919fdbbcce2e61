/* os_process.c: os_process.h on Linux. Layer 1. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "allocator/os/os_process.h"

#include "allocator/base/bits.h"
#include "allocator/os/os.h"
#include "allocator/os/os_keep.h"
#include "allocator/os/valgrind.h"

#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

/* The owner that the kernel reports for files whose owner has no number in this user namespace. */
enum { OVERFLOW_UID = 65534 };

unsigned hak_os_pid(void) {
    return (unsigned)getpid();
}
unsigned hak_os_tid(void) {
    return (unsigned)syscall(SYS_gettid);
}

/* For Valgrind, which answers the call of is_readable itself, and wrongly. */
static bool is_readable_by_copy(uintptr_t addr) {
    char byte;
    struct iovec to = {&byte, 1}, from = {(void *)addr, 1};
    return process_vm_readv(getpid(), &to, 1, &from, 1, 0) == 1;
}

/* True when the page can be read: the kernel reads the signal set before it finds that `how` is invalid. Every
 * sandbox allows this call, unlike process_vm_readv. Source of the idea: abseil's address_is_readable.cc. */
static bool is_readable(uintptr_t addr) {
    enum { NOTHING = -1, SET_BYTES = 8 };
    uintptr_t set = hak_align_down(addr, SET_BYTES);
    if (set == 0)
        return false; /* the kernel would accept NULL */
    if (hak_valgrind_runs())
        return is_readable_by_copy(addr);
    return syscall(SYS_rt_sigprocmask, NOTHING, set, NULL, SET_BYTES) == 0 || errno != EFAULT;
}

/* Copies by hand: a sanitizer may know that the memory is not an object. */
__attribute__((no_sanitize("address"))) HAK_PEEKS size_t hak_os_read(void *out, uintptr_t from, size_t size) {
    enum { PAGE = 4096 };
    int saved = errno;
    size_t done = 0;
    for (bool readable = false; done < size; done++) {
        if (done == 0 || (from + done) % PAGE == 0)
            readable = is_readable(from + done);
        if (!readable)
            break;
        ((unsigned char *)out)[done] = ((const volatile unsigned char *)from)[done];
    }
    errno = saved;
    return done;
}

static bool has_limit(int resource) {
    struct rlimit limit;
    return getrlimit(resource, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
}
bool hak_os_limited(void) {
    int saved = errno;
    bool limited = has_limit(RLIMIT_AS) || has_limit(RLIMIT_DATA);
    errno = saved;
    return limited;
}

/* Uses raw system calls, here and below: libc's functions are cancellation points, and a thread that is
 * cancelled in free would end there. */
int hak_os_open(const char *path) {
    int saved = errno;
    int file = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    errno = saved;
    return file;
}

size_t hak_os_load(int file, char *out, size_t size) {
    int saved = errno;
    long got;
    do
        got = syscall(SYS_read, file, out, size);
    while (got < 0 && errno == EINTR);
    errno = saved;
    return got > 0 ? (size_t)got : 0;
}

void hak_os_close(int file) {
    int saved = errno;
    (void)syscall(SYS_close, file);
    errno = saved;
}

/* Reads the number in a file of the kernel; 0: none. */
static unsigned number_in(const char *path) {
    char text[16] = {0}; /* MemorySanitizer does not see what a raw call writes */
    int file = hak_os_filter != HAK_FILTER_OWN ? hak_os_open(path) : -1;
    if (file < 0)
        return 0;
    size_t got = hak_os_load(file, text, sizeof text);
    hak_os_close(file);
    unsigned number = 0;
    for (size_t i = 0; i < got && text[i] >= '0' && text[i] <= '9' && number < HAK_OS_MAPS_USUAL * 100; i++)
        number = number * 10 + (unsigned)(text[i] - '0');
    return number;
}

unsigned hak_os_maps_allowed(void) {
    unsigned number = number_in("/proc/sys/vm/max_map_count");
    return number != 0 ? number : HAK_OS_MAPS_USUAL;
}

bool hak_os_strict(void) {
    enum { UNKNOWN, NO, YES };
    static _Atomic int known;
    int answer = atomic_load_explicit(&known, memory_order_relaxed);
    if (answer == UNKNOWN) {
        answer = number_in("/proc/sys/vm/overcommit_memory") == 2 ? YES : NO;
        atomic_store_explicit(&known, answer, memory_order_relaxed);
    }
    return answer == YES;
}

/* Why the open file is not trusted; NULL: it is. Empty: the owner has no number in this user namespace, so
 * nothing is known about it, and no reason is given. */
static const char *distrust(const struct stat *about, size_t most) {
    if (!S_ISREG(about->st_mode))
        return "not a regular file";
    if (about->st_uid != 0)
        return about->st_uid == OVERFLOW_UID ? "" : "not owned by root";
    if ((about->st_mode & (S_IWGRP | S_IWOTH)) != 0)
        return "writable by others than its owner";
    return (uint64_t)about->st_size > most ? "too large" : NULL;
}

size_t hak_os_load_trusted(const char *path, char *out, size_t size, const char **why) {
    int saved = errno, flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
    int file = (int)syscall(SYS_openat, AT_FDCWD, path, flags);
    struct stat about;
    size_t got = 0, more;
    *why = file < 0 && errno == ELOOP ? "a symbolic link" : NULL;
    if (file >= 0 && fstat(file, &about) == 0 && (*why = distrust(&about, size)) == NULL)
        while (got < size && (more = hak_os_load(file, out + got, size - got)) != 0)
            got += more;
    if (file >= 0)
        hak_os_close(file);
    if (*why != NULL && **why == '\0')
        *why = NULL;
    errno = saved;
    return got;
}

/* The kernel marks the path of a file that was replaced since the start, as by an upgrade. */
bool hak_os_executable(char out[HAK_OS_PATH_MOST]) {
    static const char gone[] = " (deleted)";
    int saved = errno;
    long got = syscall(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", out, HAK_OS_PATH_MOST - 1);
    errno = saved;
    if (got <= 0)
        return false;
    out[got] = '\0';
    size_t tail = sizeof gone - 1;
    if ((size_t)got > tail && memcmp(out + got - tail, gone, tail) == 0)
        out[(size_t)got - tail] = '\0';
    return true;
}

/* As in the kernel's masks: signal n is bit n - 1. */
static uint64_t bit_of(int number) {
    return (uint64_t)1 << (number - 1);
}

/* Signals that an instruction raises stay unblocked: if they were blocked, the kernel would end the process
 * without calling a handler. */
void hak_os_signals_shut(uint64_t *before) {
    uint64_t most = ~(bit_of(SIGSEGV) | bit_of(SIGBUS) | bit_of(SIGILL) | bit_of(SIGFPE) | bit_of(SIGTRAP) |
                      bit_of(SIGSYS));
    int saved = errno;
    if (syscall(SYS_rt_sigprocmask, SIG_BLOCK, &most, before, sizeof most) != 0)
        *before = 0;
    errno = saved;
}

void hak_os_signals_open(const uint64_t *before) {
    int saved = errno;
    (void)syscall(SYS_rt_sigprocmask, SIG_SETMASK, before, NULL, sizeof *before);
    errno = saved;
}

/* The signals between the kernel's last named one and SIGRTMIN: libc sends them to every thread of the process,
 * and waits until each thread has handled its own (setuid and similar functions). */
void hak_os_signals_libc(void) {
    enum { NAMED = 31 };
    int saved = errno;
    uint64_t own = 0;
    for (int number = NAMED + 1; number < SIGRTMIN; number++)
        own |= bit_of(number);
    (void)syscall(SYS_rt_sigprocmask, SIG_UNBLOCK, &own, NULL, sizeof own);
    errno = saved;
}

void hak_os_signals_drop(void) {
    if (hak_os_filter == HAK_FILTER_OWN)
        return;
    int saved = errno;
    const uint64_t raised = bit_of(SIGPIPE) | bit_of(SIGXFSZ);
    const struct timespec at_once = {0, 0};
    (void)syscall(SYS_rt_sigtimedwait, &raised, NULL, &at_once, sizeof raised);
    errno = saved;
}

void hak_os_filter_look(void) {
    static const char key[] = "\nSeccomp:\t", filtered = '2';
    char text[4096];
    int file = hak_os_open("/proc/self/status");
    if (file < 0)
        return;
    size_t got = hak_os_load(file, text, sizeof text - 1);
    hak_os_close(file);
    text[got] = 0;
    const char *found = strstr(text, key);
    if (found != NULL && found[sizeof key - 1] == filtered)
        hak_os_filter_raise(HAK_FILTER_INHERITED);
}

void hak_os_sleep(unsigned milliseconds) {
    int saved = errno;
    struct timespec time = {milliseconds / 1000, (long)(milliseconds % 1000) * 1000000};
    (void)syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &time, NULL);
    errno = saved;
}

static int page_map = -1; /* a file, for a process that must not call mincore */
/* Most pages in one answer. */
enum { RESIDENT_MOST = 64, COUNTED_MOST = 512 };

/* ENOMEM: some page is not mapped, so it is not resident; then each page is asked for separately. */
static uint64_t resident_by_mincore(uintptr_t addr, unsigned pages) {
    unsigned char in[RESIDENT_MOST];
    if (mincore((void *)addr, pages * hak_os_page, in) != 0) {
        if (errno != ENOMEM || pages == 1)
            return 0;
        uint64_t found = 0;
        for (unsigned i = 0; i < pages; i++)
            found |= (resident_by_mincore(addr + i * hak_os_page, 1) & 1) << i;
        return found;
    }
    uint64_t bits = 0;
    for (unsigned i = 0; i < pages; i++)
        bits |= (uint64_t)(in[i] & 1) << i;
    return bits;
}

/* Uses only system calls with which the dynamic linker has loaded us. Source: proc(5), /proc/pid/pagemap. */
static uint64_t resident_by_map(uintptr_t addr, unsigned pages) {
    uint64_t entries[RESIDENT_MOST], bits = 0;
    long bytes = (long)(pages * sizeof entries[0]);
    off_t at = (off_t)(addr / hak_os_page * sizeof entries[0]);
    if (syscall(SYS_pread64, page_map, entries, (size_t)bytes, at) != bytes)
        return 0;
    for (unsigned i = 0; i < pages; i++)
        bits |= (entries[i] >> 63) << i;
    return bits;
}

/* False: the kernel or a sandbox without a visible filter refuses mincore. */
static bool has_mincore(void) {
    static const char here;
    unsigned char in;
    int saved = errno;
    bool has = mincore((void *)hak_align_down((uintptr_t)&here, hak_os_page), hak_os_page, &in) == 0;
    errno = saved;
    return has;
}

/* A filter that the process began with may kill it for mincore. The hardened variant has looked for one at
 * start; the speed variant looks here. While one thread looks, the others get false. */
static bool has_no_filter(void) {
    static _Atomic unsigned looked; /* 1: a thread is looking, 2: one has looked */
    unsigned none = 0;
    if (hak_os_filter == HAK_FILTER_NONE && atomic_compare_exchange_strong(&looked, &none, 1)) {
        hak_os_filter_look();
        atomic_store_explicit(&looked, 2, memory_order_release);
    }
    return atomic_load_explicit(&looked, memory_order_acquire) == 2 && hak_os_filter == HAK_FILTER_NONE;
}

bool hak_os_resident_told(void) {
    if (HAK_DEBUG_BUILD && hak_os_keeps())
        return false; /* resident pages depend on earlier inputs */
    return has_no_filter() && has_mincore();
}

bool hak_os_resident_known(void) {
    if (hak_os_filter == HAK_FILTER_OWN)
        return false;
    if (hak_os_resident_told())
        return true;
    if (page_map < 0)
        page_map = hak_os_open("/proc/self/pagemap");
    return page_map >= 0;
}

uint64_t hak_os_resident(uintptr_t addr, unsigned pages) {
    int saved = errno;
    uint64_t bits = page_map >= 0 ? resident_by_map(addr, pages) : resident_by_mincore(addr, pages);
    errno = saved;
    return bits;
}

size_t hak_os_resident_count(uintptr_t addr, size_t size) {
    unsigned char in[COUNTED_MOST];
    int saved = errno;
    size_t pages = size / hak_os_page, count = 0;
    bool told = pages <= COUNTED_MOST && mincore((void *)addr, size, in) == 0;
    for (size_t i = 0; told && i < pages; i++)
        count += in[i] & 1;
    errno = saved;
    return count;
}

/* MADV_DOFORK changes nothing in a process whose mappings are all copied at a fork. madvise(2) returns ENOMEM
 * when part of the range is not mapped. The kernel walks mappings, not pages. */
bool hak_os_is_mapped(uintptr_t addr, size_t size) {
    int saved = errno;
    bool mapped = madvise((void *)addr, size, MADV_DOFORK) == 0 || errno != ENOMEM;
    errno = saved;
    return mapped;
}

/* The module with the code at an address. */
typedef struct code {
    uintptr_t addr, start, end;
} code;

static int look_at_object(struct dl_phdr_info *info, size_t size, void *out) {
    (void)size;
    code *found = out;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        uintptr_t start = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
        if (info->dlpi_phdr[i].p_type != PT_LOAD || (info->dlpi_phdr[i].p_flags & PF_X) == 0 ||
            found->addr - start >= info->dlpi_phdr[i].p_memsz)
            continue;
        found->start = start;
        found->end = start + info->dlpi_phdr[i].p_memsz;
        return 1;
    }
    return 0;
}

bool hak_os_code_of(uintptr_t addr, uintptr_t *start, uintptr_t *end) {
    code found = {.addr = addr};
    if (dl_iterate_phdr(look_at_object, &found) == 0)
        return false;
    *start = found.start;
    *end = found.end;
    return true;
}

static hak_fault_verdict (*fault_handler)(const hak_fault *fault);
static struct sigaction before[2]; /* the program's, for SIGSEGV and SIGBUS */
static const struct sigaction default_action = {.sa_handler = SIG_DFL};

static hak_fault describe(const siginfo_t *info, const void *context) {
    hak_fault fault = {.addr = info->si_code > 0 ? (uintptr_t)info->si_addr : 0, .is_write = -1};
#if defined(__x86_64__)
    const greg_t *registers = ((const ucontext_t *)context)->uc_mcontext.gregs;
    fault.at = (uintptr_t)registers[REG_RIP];
    fault.frame = (uintptr_t)registers[REG_RBP];
    fault.is_write = (registers[REG_ERR] & 2) != 0;
#elif defined(__aarch64__)
    const ucontext_t *machine = context;
    fault.at = machine->uc_mcontext.pc;
    fault.frame = machine->uc_mcontext.regs[29];
#else
    (void)context;
#endif
    return fault;
}

/* Calls the action that the program had installed before, as the kernel would: with the signals blocked that
 * the action blocks, and only once if it is to be reset. False: the action is the default one. */
static bool pass_on(int number, siginfo_t *info, void *context) {
    struct sigaction *was = &before[number == SIGBUS];
    void (*const plain)(int) = was->sa_handler;
    void (*const full)(int, siginfo_t *, void *) = was->sa_sigaction;
    const int flags = was->sa_flags;
    if (plain == SIG_DFL)
        return false;
    uint64_t shut;
    memcpy(&shut, &was->sa_mask, sizeof shut); /* libc's set is longer than the kernel's */
    if ((flags & SA_NODEFER) == 0)
        shut |= bit_of(number);
    if ((flags & (int)SA_RESETHAND) != 0)
        *was = default_action;
    (void)syscall(SYS_rt_sigprocmask, SIG_BLOCK, &shut, NULL, sizeof shut); /* the return unblocks them */
    if ((flags & SA_SIGINFO) != 0)
        full(number, info, context);
    else
        plain(number);
    return true;
}

static void on_fault(int number, siginfo_t *info, void *context) {
    int saved = errno;
    hak_fault fault = describe(info, context);
    hak_fault_verdict verdict = fault_handler(&fault);
    errno = saved;
    if (verdict == HAK_FAULT_MENDED)
        return;
    if (pass_on(number, info, context))
        return;
    (void)sigaction(number, &default_action, NULL);
    /* si_code <= 0: sent by kill, so no instruction is repeated */
    if (verdict == HAK_FAULT_ENDS || info->si_code <= 0)
        (void)raise(number);
}

/* A signal that was ignored when the process began stays ignored, for the process and the programs that it
 * starts. A fault ends the process all the same. */
void hak_os_on_fault(hak_fault_verdict (*handler)(const hak_fault *fault)) {
    static const int numbers[] = {SIGSEGV, SIGBUS};
    int saved = errno;
    fault_handler = handler;
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    for (int i = 0; i < 2; i++)
        if (sigaction(numbers[i], NULL, &before[i]) == 0 && before[i].sa_handler != SIG_IGN)
            (void)sigaction(numbers[i], &action, NULL);
    errno = saved;
}

static void (*signal_handler)(void);

static void on_signal(int number) {
    (void)number;
    int saved = errno;
    signal_handler();
    errno = saved;
}

static int number_of(hak_os_signal which) {
    if (which < HAK_OS_SIGNAL_RTMIN)
        return which == HAK_OS_SIGNAL_USR1 ? SIGUSR1 : SIGUSR2;
    return SIGRTMIN + (int)(which - HAK_OS_SIGNAL_RTMIN);
}

bool hak_os_on_signal(hak_os_signal which, void (*handler)(void)) {
    int saved = errno;
    struct sigaction was, action = {.sa_handler = on_signal, .sa_flags = SA_RESTART | SA_ONSTACK};
    (void)sigfillset(&action.sa_mask);
    signal_handler = handler;
    bool done = sigaction(number_of(which), NULL, &was) == 0 && was.sa_handler == SIG_DFL &&
                sigaction(number_of(which), &action, NULL) == 0;
    errno = saved;
    return done;
}
