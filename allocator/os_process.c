/* os_process.c: os_process.h on Linux. Layer 1. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "allocator/os_process.h"

#include "allocator/bits.h"
#include "allocator/os.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

unsigned hak_os_pid(void) {
    return (unsigned)getpid();
}
unsigned hak_os_tid(void) {
    return (unsigned)syscall(SYS_gettid);
}

/* Whether the page can be read: the kernel fetches the set of signals before it sees that it does not know what to do with it. Every
 * sandbox allows this call, and not process_vm_readv. Source of the idea: abseil's address_is_readable.cc. */
static bool is_readable(uintptr_t addr) {
    enum { NOTHING = -1, SET_BYTES = 8 };
    uintptr_t set = hak_align_down(addr, SET_BYTES);
    if (set == 0)
        return false; /* no set at all would be fine with the kernel */
    return syscall(SYS_rt_sigprocmask, NOTHING, set, NULL, SET_BYTES) == 0 || errno != EFAULT;
}

/* By hand: what is read may be what a sanitizer knows to be no object. */
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

int hak_os_create(const char *path) {
    int saved = errno;
    int file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
    errno = saved;
    return file;
}

int hak_os_open(const char *path) {
    int saved = errno;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    errno = saved;
    return file;
}

size_t hak_os_load(int file, char *out, size_t size) {
    int saved = errno;
    ssize_t got;
    do
        got = read(file, out, size);
    while (got < 0 && errno == EINTR);
    errno = saved;
    return got > 0 ? (size_t)got : 0;
}

void hak_os_write(int file, const char *text, size_t size) {
    int saved = errno;
    while (size != 0) {
        ssize_t done = write(file, text, size);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            break;
        text += done;
        size -= (size_t)done;
    }
    errno = saved;
}

void hak_os_close(int file) {
    int saved = errno;
    (void)close(file);
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
    (void)nanosleep(&time, NULL);
    errno = saved;
}

static int page_map = -1;    /* a file, of a process that must not call mincore */
enum { RESIDENT_MOST = 64 }; /* pages in one answer */

static uint64_t resident_by_mincore(uintptr_t addr, unsigned pages) {
    unsigned char in[RESIDENT_MOST];
    if (mincore((void *)addr, pages * hak_os_page, in) != 0)
        return UINT64_MAX;
    uint64_t bits = 0;
    for (unsigned i = 0; i < pages; i++)
        bits |= (uint64_t)(in[i] & 1) << i;
    return bits;
}

/* The calls are those by which the dynamic linker has loaded us. Source: proc(5), /proc/pid/pagemap. */
static uint64_t resident_by_map(uintptr_t addr, unsigned pages) {
    uint64_t entries[RESIDENT_MOST], bits = 0;
    ssize_t bytes = (ssize_t)(pages * sizeof entries[0]);
    if (pread(page_map, entries, (size_t)bytes, (off_t)(addr / hak_os_page * sizeof entries[0])) != bytes)
        return UINT64_MAX;
    for (unsigned i = 0; i < pages; i++)
        bits |= (entries[i] >> 63) << i;
    return bits;
}

bool hak_os_resident_known(void) {
    if (hak_os_filter == HAK_FILTER_INHERITED && page_map < 0)
        page_map = hak_os_open("/proc/self/pagemap");
    return hak_os_filter == HAK_FILTER_NONE || (hak_os_filter == HAK_FILTER_INHERITED && page_map >= 0);
}

uint64_t hak_os_resident(uintptr_t addr, unsigned pages) {
    int saved = errno;
    uint64_t bits = page_map >= 0 ? resident_by_map(addr, pages) : resident_by_mincore(addr, pages);
    errno = saved;
    return bits;
}

static bool (*fault_handler)(const hak_fault *fault);
static struct sigaction before[2]; /* of SIGSEGV and SIGBUS */

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

/* Our part, then what the program had installed before; without that, the default action. */
static void on_fault(int number, siginfo_t *info, void *context) {
    int saved = errno;
    const struct sigaction *was = &before[number == SIGBUS];
    hak_fault fault = describe(info, context);
    bool ends = fault_handler(&fault);
    errno = saved;
    if (was->sa_flags & SA_SIGINFO)
        was->sa_sigaction(number, info, context);
    else if (was->sa_handler != SIG_DFL && was->sa_handler != SIG_IGN)
        was->sa_handler(number);
    else {
        (void)sigaction(number, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
        if (ends || info->si_code <= 0) /* <= 0: sent by kill, no instruction will be tried again */
            (void)raise(number);
    }
}

void hak_os_on_fault(bool (*handler)(const hak_fault *fault)) {
    int saved = errno;
    fault_handler = handler;
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    (void)sigaction(SIGSEGV, &action, &before[0]);
    (void)sigaction(SIGBUS, &action, &before[1]);
    errno = saved;
}

void hak_os_abort(void) {
    abort();
}
