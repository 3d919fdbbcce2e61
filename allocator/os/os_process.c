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
#include <linux/membarrier.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
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

/* No branch depends on it: whether the kernel refuses, or what is kept for a later input, counts as the same. */
static bool is_left(uintptr_t addr) {
    return HAK_DEBUG_BUILD && hak_os_keep_left(addr);
}

/* Copies by hand: a sanitizer may know that the memory is not an object. */
__attribute__((no_sanitize("address"))) HAK_PEEKS size_t hak_os_read(void *out, uintptr_t from, size_t size) {
    enum { PAGE = 4096 };
    int saved = errno;
    size_t done = 0;
    for (bool readable = false; done < size; done++) {
        if (done == 0 || (from + done) % PAGE == 0)
            readable = ((unsigned)is_readable(from + done) & (unsigned)!is_left(from + done)) != 0;
        if (!readable)
            break;
        ((unsigned char *)out)[done] = ((const volatile unsigned char *)from)[done];
    }
    errno = saved;
    return done;
}

static size_t limit_of(int resource) {
    struct rlimit limit;
    return getrlimit(resource, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY ? (size_t)limit.rlim_cur
                                                                               : SIZE_MAX;
}
size_t hak_os_limit(void) {
    int saved = errno;
    size_t space = limit_of(RLIMIT_AS), data = limit_of(RLIMIT_DATA);
    errno = saved;
    return space < data ? space : data;
}
bool hak_os_limited(void) {
    return hak_os_limit() != SIZE_MAX;
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

/* Reads the first bytes of a file of the kernel. Returns their number. */
static size_t load_kernel(const char *path, char *text, size_t size) {
    int file = hak_os_filter != HAK_FILTER_OWN ? hak_os_open(path) : -1;
    if (file < 0)
        return 0;
    size_t got = hak_os_load(file, text, size);
    hak_os_close(file);
    return got;
}

/* Reads the number in a file of the kernel; 0: none. */
static unsigned number_in(const char *path) {
    char text[16] = {0}; /* MemorySanitizer does not see what a raw call writes */
    size_t got = load_kernel(path, text, sizeof text);
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

_Atomic hak_os_huge_mode hak_os_huge_known;
/* The file's first word is "[always]" or "always". */
bool hak_os_huge_unasked(void) {
    hak_os_huge_mode mode = atomic_load_explicit(&hak_os_huge_known, memory_order_relaxed);
    if (mode == HAK_HUGE_UNKNOWN) {
        char text[8] = {0};
        (void)load_kernel("/sys/kernel/mm/transparent_hugepage/enabled", text, sizeof text);
        mode = text[0] == '[' ? HAK_HUGE_ALWAYS : HAK_HUGE_ASKED;
        atomic_store_explicit(&hak_os_huge_known, mode, memory_order_relaxed);
    }
    return mode == HAK_HUGE_ALWAYS;
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

/* A kernel without filters leaves the line out. */
bool hak_os_filter_look(void) {
    static const char key[] = "\nSeccomp:\t", filtered = '2';
    char text[4096] = ""; /* MemorySanitizer does not see what a raw system call writes */
    int file = hak_os_open("/proc/self/status");
    if (file < 0)
        return false;
    size_t got = hak_os_load(file, text, sizeof text - 1);
    hak_os_close(file);
    text[got] = 0;
    const char *found = strstr(text, key);
    if (found != NULL && found[sizeof key - 1] == filtered)
        hak_os_filter_raise(HAK_FILTER_INHERITED);
    return got != 0;
}

#pragma weak hak_prctl_is_ours

void hak_os_filter_expect(void) {
    if (!HAK_DEBUG_BUILD && hak_prctl_is_ours == NULL)
        hak_os_filter_raise(HAK_FILTER_INHERITED);
}

/* A filter that the process began with may kill it for mincore or membarrier. The hardened variant has looked for one
 * at start; the speed variant looks here. Without /proc, as in a sandbox's folder, there may be one; without a free
 * descriptor the next call looks again. */
bool hak_os_unfiltered(void) {
    static _Atomic unsigned looked; /* 1: a thread is looking, 2: one has looked */
    unsigned none = 0;
    if (hak_os_filter == HAK_FILTER_NONE && atomic_compare_exchange_strong(&looked, &none, 1))
        atomic_store_explicit(&looked, hak_os_filter_look() ? 2 : 0, memory_order_release);
    return atomic_load_explicit(&looked, memory_order_acquire) == 2 && hak_os_filter == HAK_FILTER_NONE;
}

static bool membarrier(int command) {
    return syscall(SYS_membarrier, command, 0, 0) == 0;
}

/* EPERM: the process has not registered yet. */
bool hak_os_barrier(void) {
    if (!hak_os_unfiltered())
        return false;
    int saved = errno;
    bool done = membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) ||
                (errno == EPERM && membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) &&
                 membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED));
    errno = saved;
    return done;
}

void hak_os_sleep(unsigned milliseconds) {
    int saved = errno;
    struct timespec time = {milliseconds / 1000, (long)(milliseconds % 1000) * 1000000};
    (void)syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &time, NULL);
    errno = saved;
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
