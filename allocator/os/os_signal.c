/* os_signal.c: signals for os_process.h on Linux: masks, faults, and the signal that a user may send. Layer 1. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "allocator/os/os.h"
#include "allocator/os/os_process.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

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

static hak_fault_verdict (*fault_handler)(const hak_fault *fault);
static struct sigaction before[2]; /* the program's, for SIGSEGV and SIGBUS */
static const struct sigaction default_action = {.sa_handler = SIG_DFL};

#if defined(__aarch64__)
enum {
    TAG_FAULT = 9, /* SEGV_MTESERR, which older headers do not have */
    TAG_SHIFT = 56,
    TAG_SHOWN = 0x800, /* SA_EXPOSE_TAGBITS: the address in siginfo has the pointer's tag (Linux 5.11) */
};
static uintptr_t without_tag(uintptr_t addr) {
    return addr & (((uintptr_t)1 << TAG_SHIFT) - 1);
}
#else
enum { TAG_SHOWN = 0 };
#endif

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
    fault.is_tag = info->si_signo == SIGSEGV && info->si_code == TAG_FAULT;
    fault.tag = fault.addr >> TAG_SHIFT & 15;
    fault.addr = without_tag(fault.addr);
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
#if defined(__aarch64__)
    if ((flags & TAG_SHOWN) == 0 && info->si_code > 0)
        info->si_addr = (void *)without_tag((uintptr_t)info->si_addr);
#endif
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
    struct sigaction action = {.sa_sigaction = on_fault,
                               .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER | TAG_SHOWN};
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
