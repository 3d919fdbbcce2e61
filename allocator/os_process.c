/* os_process.c: os_process.h on Linux. Layer 1. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "allocator/os_process.h"

#include "allocator/os.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

unsigned hak_os_pid(void) {
    return (unsigned)getpid();
}
unsigned hak_os_tid(void) {
    return (unsigned)syscall(SYS_gettid);
}

size_t hak_os_read(void *out, uintptr_t from, size_t size) {
    int saved = errno;
    size_t done = 0;
    while (done < size) { /* page by page: a call with a part that cannot be read may read nothing */
        size_t part = 4096 - (from + done) % 4096;
        part = part < size - done ? part : size - done;
        struct iovec local = {(char *)out + done, part}, remote = {(void *)(from + done), part};
        ssize_t got = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
        if (got <= 0)
            break;
        done += (size_t)got;
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

void hak_os_sleep(unsigned milliseconds) {
    int saved = errno;
    struct timespec time = {milliseconds / 1000, (long)(milliseconds % 1000) * 1000000};
    (void)nanosleep(&time, NULL);
    errno = saved;
}

uint64_t hak_os_resident(uintptr_t addr, unsigned pages) {
    unsigned char in[64];
    int saved = errno;
    uint64_t bits = UINT64_MAX;
    if (mincore((void *)addr, pages * hak_os_page, in) == 0) {
        bits = 0;
        for (unsigned i = 0; i < pages; i++)
            bits |= (uint64_t)(in[i] & 1) << i;
    }
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
